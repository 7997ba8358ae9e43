import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient, type RedisClientOptions } from 'redis';
import { freePort, isInstalled, whenWritten } from './server.ts';

export type RedisClient = ReturnType<typeof createClient>;

let available: boolean | undefined;

/** Whether there is a `redis-server`. */
export function redisAvailable(): boolean {
  available ??= isInstalled('redis-server', 'redis-server');
  return available;
}

/** A real Redis of a test's own, on a free port, with its data in a temporary folder. */
export class TestRedis {
  readonly port: number;
  readonly folder: string;
  readonly #args: string[];
  readonly #clients: RedisClient[] = [];
  #process: ChildProcess | undefined;

  constructor(port: number, folder: string, args: string[]) {
    this.port = port;
    this.folder = folder;
    this.#args = args;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Starts the server, or starts it again on the same port with what it had saved; `more` is for this start alone. */
  async start(more: string[] = []): Promise<void> {
    const place = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.folder];
    const args = [...place, ...this.#args, ...more];
    const child = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#process = child;
    await whenWritten(child.stdout, 'Ready to accept connections');
  }

  /** A connected client; `close()` ends it. Its connection errors are swallowed, as an app would log them. */
  async client(options: RedisClientOptions = {}): Promise<RedisClient> {
    const client = createClient({ url: this.url, ...options }) as RedisClient;
    client.on('error', () => {});
    await client.connect();
    this.#clients.push(client);
    return client;
  }

  /** SIGSTOP: connections stay open and nothing is answered. */
  pause(): void {
    this.#process?.kill('SIGSTOP');
  }

  resume(): void {
    this.#process?.kill('SIGCONT');
  }

  /** Ends the server: `SIGTERM` saves where persistence is on, `SIGKILL` does not. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(signal);
    await exited;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Starts a Redis without persistence; `args` changes that (`['--appendonly', 'yes']`) or sets anything else. */
export async function startRedis(args: string[] = []): Promise<TestRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'redis-'));
  const redis = new TestRedis(await freePort(), folder, ['--save', '', '--appendonly', 'no', ...args]);
  await redis.start();
  return redis;
}
