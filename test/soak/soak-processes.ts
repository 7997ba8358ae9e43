import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Serial } from '../../src/storage/serial.ts';
import type { SoakAppConfig } from './soak-app.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** From its start to its end; whoever takes its place has another one. */
interface Life {
  readonly name: string;
  readonly child: ChildProcess;
  port: number | undefined;
}

/** The processes of the app: killed, rolled and replaced, while the others go on. */
export class SoakProcesses {
  /** Everything that they wrote. */
  output = '';
  /** When lives were ended by SIGKILL. */
  readonly killedAt = new Map<string, number>();
  /** Ends that nobody asked for. */
  readonly badEnds: string[] = [];
  readonly #folder: string;
  readonly #config: (life: string) => SoakAppConfig;
  readonly #lives: Life[] = [];
  /** One thing after another happens to a place. */
  readonly #turns = new Serial();
  #count = 0;

  /** @param config of a process that starts now. */
  constructor(config: (life: string) => SoakAppConfig) {
    this.#config = config;
    this.#folder = mkdtempSync(join(tmpdir(), 'soak-'));
    const args = ['--bundle', '--platform=node', '--format=cjs', '--log-level=warning'];
    const built = spawnSync(
      join(root, 'node_modules/.bin/esbuild'),
      ['test/soak/soak-app.ts', `--outfile=${this.#bundle}`, ...args],
      { cwd: root, encoding: 'utf8' },
    );
    if (built.status !== 0) throw new Error(`the app could not be built: ${built.stderr}`);
  }

  get #bundle(): string {
    return join(this.#folder, 'app.cjs');
  }

  /** Of those that take requests. */
  ports(): number[] {
    return this.#lives.flatMap(({ port }) => port ?? []);
  }

  async start(count: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, index) => this.#begin(index)));
  }

  /** Without a warning; resolves when another one has taken its place. */
  kill(index: number): Promise<void> {
    return this.#turns.run(`${index}`, async () => {
      const { child, name } = this.#lives[index] as Life;
      if (hasEnded(child)) return;
      this.killedAt.set(name, Date.now());
      child.kill('SIGKILL');
      await once(child, 'exit');
      await this.#begin(index);
    });
  }

  /** Ends it as a deployment does: no new requests, then SIGTERM; resolves when another one has taken its place. */
  roll(index: number): Promise<void> {
    return this.#turns.run(`${index}`, async () => {
      await this.#end(this.#lives[index] as Life);
      await this.#begin(index);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#lives.map((life) => this.#end(life)));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #begin(index: number): Promise<void> {
    this.#count += 1;
    const name = `${index}.${this.#count}`;
    const { NODE_OPTIONS: _options, ...env } = process.env;
    const child = fork(this.#bundle, {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...env, NODE_ENV: 'production', SOAK_APP: JSON.stringify(this.#config(name)) },
    });
    const life: Life = { name, child, port: undefined };
    this.#lives[index] = life;
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    child.once('exit', (code, signal) => {
      life.port = undefined;
      if (code !== 0 && !this.killedAt.has(name)) this.badEnds.push(`${name}: ${signal ?? code}`);
    });
    const exited = once(child, 'exit').then(() => {
      throw new Error(`process ${name} did not start:\n${this.output.slice(-2000)}`);
    });
    exited.catch(() => undefined);
    const [port] = await Promise.race([once(child, 'message'), exited]);
    life.port = port;
  }

  async #end(life: Life): Promise<void> {
    const { child, name } = life;
    life.port = undefined;
    if (hasEnded(child)) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const late = setTimeout(() => {
      this.badEnds.push(`${name}: did not end on SIGTERM`);
      child.kill('SIGKILL');
    }, 15_000);
    await exited;
    clearTimeout(late);
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}
