import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import connectPgSimple from 'connect-pg-simple';
import session from 'express-session';
import { Pool, type PoolConfig } from 'pg';
import { freePort, isInstalled, whenWritten } from './server.ts';

const DEBIAN_FOLDER = '/usr/lib/postgresql';

/** Debian keeps PostgreSQL's programs outside the PATH, a folder for each version. */
function programFolders(): string[] {
  try {
    const versions = readdirSync(DEBIAN_FOLDER).sort((a, b) => Number(b) - Number(a));
    return versions.map((version) => join(DEBIAN_FOLDER, version, 'bin'));
  } catch {
    return [];
  }
}

const PATH = [process.env.PATH, ...programFolders()].join(':');

let available: boolean | undefined;

/** Whether there is a PostgreSQL. */
export function postgresAvailable(): boolean {
  available ??= ['initdb', 'postgres'].every((program) => isInstalled(program, 'postgresql', PATH));
  return available;
}

/** PostgreSQL refuses to run as root. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  for (const user of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, user], { encoding: 'utf8' }).stdout);
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error('PostgreSQL runs as any user but root, and there is neither postgres nor nobody');
}

/** A real PostgreSQL of a test's own, on a free port, with its data in a temporary folder. */
export class TestPostgres {
  readonly port: number;
  readonly folder: string;
  readonly #spawnAs: { cwd: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number };
  readonly #pools: Pool[] = [];
  #process: ChildProcess | undefined;
  #schemas = 0;

  constructor(port: number, folder: string, owner: { uid?: number; gid?: number }) {
    this.port = port;
    this.folder = folder;
    this.#spawnAs = { cwd: folder, env: { PATH, LC_ALL: 'C' }, ...owner };
  }

  /** @param port default: the server's own; else that of a proxy before it. */
  url(port = this.port): string {
    return `postgres://postgres@127.0.0.1:${port}/postgres`;
  }

  get #data(): string {
    return join(this.folder, 'data');
  }

  async create(): Promise<void> {
    const access = ['--username=postgres', '--auth=trust', '--encoding=UTF8', '--locale=C'];
    const fast = ['--no-sync', '--no-instructions', '--wal-segsize=1'];
    await promisify(execFile)('initdb', [`--pgdata=${this.#data}`, ...access, ...fast], this.#spawnAs);
  }

  /** Starts the server, or starts it again on the same port with what it had stored. */
  async start(): Promise<void> {
    const place = ['-D', this.#data, '-k', this.folder, '-h', '127.0.0.1', '-p', `${this.port}`];
    // What a crash of the machine would lose is of no interest; what was committed stays.
    const settings = ['fsync=off', 'full_page_writes=off', 'shared_buffers=16MB', 'max_connections=60'];
    const args = [...place, ...settings.flatMap((setting) => ['-c', setting])];
    const child = spawn('postgres', args, { ...this.#spawnAs, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    await whenWritten(child.stderr, 'database system is ready to accept connections');
  }

  /** Connections that `close()` ends. Their errors are swallowed, as an app would log them. */
  pool(options: PoolConfig = {}): Pool {
    const pool = new Pool({ connectionString: this.url(), ...options });
    pool.on('error', () => {});
    this.#pools.push(pool);
    return pool;
  }

  /** A schema with an empty table of sessions, as connect-pg-simple makes it. */
  async schema(): Promise<string> {
    this.#schemas += 1;
    const schemaName = `sessions_${this.#schemas}`;
    const pool = this.pool();
    await pool.query(`CREATE SCHEMA ${schemaName}`);
    const options = { pool, schemaName, createTableIfMissing: true, pruneSessionInterval: false } as const;
    const store = new (connectPgSimple(session))(options);
    await promisify(store.get.bind(store))('none');
    return schemaName;
  }

  /** Ends the server at once, as `pg_ctl stop -m immediate` does: connections break, and what was committed stays. */
  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGQUIT');
    await exited;
  }

  async close(): Promise<void> {
    await Promise.all(this.#pools.map((pool) => pool.end()));
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts a PostgreSQL; close it at the end. */
export async function startPostgres(): Promise<TestPostgres> {
  const owner = unprivileged();
  const folder = await mkdtemp(join(tmpdir(), 'postgres-'));
  if (owner.uid !== undefined && owner.gid !== undefined) await chown(folder, owner.uid, owner.gid);
  const postgres = new TestPostgres(await freePort(), folder, owner);
  try {
    await postgres.create();
    await postgres.start();
  } catch (error) {
    await postgres.close();
    throw error;
  }
  return postgres;
}
