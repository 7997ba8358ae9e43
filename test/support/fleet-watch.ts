import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TestPostgres } from './postgres.ts';
import type { TestRedis } from './redis.ts';

/** Looks at what a fleet leaves in its store, from outside. */
export interface StoreWatch {
  /** Versions that were written over a higher one of the same record. */
  falls(): Promise<string[]>;
  /** How many token caches are in the store. */
  caches(): Promise<number>;
  /** The version of this session's token cache; 0 without one. */
  version(sessionId: string): Promise<number>;
  /** Leases that somebody holds just now. */
  leases(): Promise<number>;
  close(): Promise<void>;
}

class Versions {
  readonly falls: string[] = [];
  readonly #highest = new Map<string, number>();

  saw(record: string, version: number): void {
    const highest = this.#highest.get(record) ?? 0;
    if (version < highest) this.falls.push(`${record}: ${version} after ${highest}`);
    this.#highest.set(record, Math.max(highest, version));
  }
}

interface Session {
  oidc?: { ref?: string };
}

function hashOf({ oidc }: Session): string {
  return createHash('sha256')
    .update(oidc?.ref ?? '')
    .digest('hex');
}

const WRITE = /"HSET" "([^"]*oidc\.[0-9a-f]{64})" "v" "(\d+)"/;

/** Sees every write, through `MONITOR`. */
export async function watchRedis(redis: TestRedis): Promise<StoreWatch> {
  const versions = new Versions();
  const [monitor, client] = [await redis.client(), await redis.client()];
  await monitor.monitor((line) => {
    const [, record = '', version] = WRITE.exec(String(line)) ?? [];
    if (version !== undefined) versions.saw(record, Number(version));
  });
  const caches = async () => (await client.keys('*oidc.*')).filter((key) => /oidc\.[0-9a-f]{64}$/.test(key));
  return {
    falls: async () => versions.falls,
    async caches() {
      const found = await Promise.all((await caches()).map((key) => client.hExists(key, 'v')));
      return found.filter(Boolean).length;
    },
    async version(sessionId) {
      const session = JSON.parse((await client.get(`sess:${sessionId}`)) ?? '{}') as Session;
      return Number(await client.hGet(`sess:oidc.${hashOf(session)}`, 'v'));
    },
    async leases() {
      const ends = await Promise.all((await caches()).map((key) => client.hGet(key, 'e')));
      const [seconds, micros] = (await client.sendCommand(['TIME'])) as unknown as [string, string];
      const now = Number(seconds) * 1000 + Number(micros) / 1000;
      return ends.filter((end) => Number(end ?? 0) > now).length;
    },
    close: async () => {},
  };
}

type Fields = Record<string, unknown>;

/** A timed lock that somebody holds. */
function isLive({ released, until }: Fields): boolean {
  return released !== true && Number(until) > Date.now();
}

async function readJson(path: string): Promise<Fields> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Fields;
  } catch {
    return {};
  }
}

/** Looks again and again: a version that falls and rises within a few milliseconds is missed. */
export async function watchFiles(path: string): Promise<StoreWatch> {
  const versions = new Versions();
  let isOpen = true;
  const records = async (pattern: RegExp) => {
    const names = (await readdir(path)).filter((name) => pattern.test(name));
    return Promise.all(names.map(async (name) => ({ name, fields: await readJson(join(path, name)) })));
  };
  const caches = () => records(/^oidc\.[0-9a-f]{64}\.json$/);
  const looking = (async () => {
    while (isOpen) {
      for (const { name, fields } of await caches())
        if (typeof fields.version === 'number') versions.saw(name, fields.version);
      await delay(10);
    }
  })();
  return {
    falls: async () => versions.falls,
    async caches() {
      return (await caches()).filter(({ fields }) => fields.version !== undefined).length;
    },
    async version(sessionId) {
      const session = (await readJson(join(path, `${sessionId}.json`))) as Session;
      return Number((await readJson(join(path, `oidc.${hashOf(session)}.json`))).version ?? 0);
    },
    async leases() {
      const locks = await records(/^oidc\.lock\./);
      return locks.filter(({ fields }) => isLive(fields)).length;
    },
    async close() {
      isOpen = false;
      await looking;
    },
  };
}

/** Sees every write, through a trigger. */
export async function watchPostgres(postgres: TestPostgres, schemaName: string): Promise<StoreWatch> {
  const pool = postgres.pool({ options: `-c search_path=${schemaName}` });
  await pool.query(`
    CREATE TABLE writes (number bigserial, record text, version integer);
    CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        INSERT INTO ${schemaName}.writes (record, version) VALUES (NEW.sid, (NEW.sess->>'version')::integer);
        RETURN NULL;
      END
    $$;
    CREATE TRIGGER note_write AFTER INSERT OR UPDATE ON session
      FOR EACH ROW WHEN (NEW.sess->>'version' IS NOT NULL) EXECUTE FUNCTION note_write()`);
  const rows = async (sql: string, ...values: unknown[]) =>
    (await pool.query<Record<string, unknown>>(sql, values)).rows;
  const session = async (id: string) =>
    (await rows('SELECT sess FROM session WHERE sid = $1', id))[0]?.sess as Fields | undefined;
  return {
    async falls() {
      const versions = new Versions();
      for (const { record, version } of await rows('SELECT * FROM writes ORDER BY number'))
        versions.saw(String(record), Number(version));
      return versions.falls;
    },
    async caches() {
      const caches = `SELECT sid FROM session WHERE sid ~ '^oidc\\.[0-9a-f]{64}$' AND sess->>'version' IS NOT NULL`;
      return (await rows(caches)).length;
    },
    async version(sessionId) {
      const hash = hashOf(((await session(sessionId)) ?? {}) as Session);
      return Number((await session(`oidc.${hash}`))?.version ?? 0);
    },
    async leases() {
      const locks = await rows(`SELECT sess FROM session WHERE sid LIKE 'oidc.lock.%'`);
      return locks.filter(({ sess }) => isLive(sess as Fields)).length;
    },
    close: async () => {},
  };
}
