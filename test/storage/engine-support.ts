import { createHash } from 'node:crypto';
import { describe } from '@jest/globals';
import type { Store } from 'express-session';
import type { Events } from '../../src/core/ports.ts';
import { RedisCommands, type RedisDeadlines } from '../../src/storage/redis-commands.ts';
import { RedisTokenStore, RedisTransactionStore } from '../../src/storage/redis-token-store.ts';
import { bindStore, type StoreBinding } from '../../src/storage/store-binding.ts';
import { type RedisClient, redisAvailable } from '../support/redis.ts';

export const describeRedis = redisAvailable() ? describe : describe.skip;

export const HOUR = 3_600_000;

export interface RecordedEvents extends Events {
  readonly seen: { name: string; details: object }[];
  count(name: keyof Events): number;
}

/** Every event there is, kept for the test to look at. */
export function recordEvents(): RecordedEvents {
  const seen: RecordedEvents['seen'] = [];
  const count = (name: string) => seen.filter((event) => event.name === name).length;
  const own: Record<string, unknown> = { seen, count };
  return new Proxy(own, {
    get: (_target, name: string) => own[name] ?? ((details: object) => void seen.push({ name, details })),
  }) as unknown as RecordedEvents;
}

/** A client that counts what it sends, and can be told to send nothing more: a process that has died. */
export class WatchedClient {
  readonly sent: string[][] = [];
  isDead = false;
  /** So many of the next commands fail. */
  failures = 0;
  /** What is sent waits for this. */
  gate: Promise<void> | undefined;
  readonly #client: RedisClient;
  readonly #waiters: { count: number; resolve: () => void }[] = [];

  constructor(client: RedisClient) {
    this.#client = client;
  }

  async sendCommand(words: string[]): Promise<unknown> {
    if (this.isDead) return new Promise(() => {});
    await this.gate;
    this.sent.push(words);
    const isFailing = this.failures > 0;
    if (isFailing) this.failures -= 1;
    for (const { count, resolve } of this.#waiters) if (this.sent.length >= count) resolve();
    if (isFailing) throw new Error('cut');
    return this.#client.sendCommand(words);
  }

  /** Resolves when it has sent so many more commands: what a waiter does before them has had its turn. */
  more(count: number): Promise<void> {
    return new Promise((resolve) => this.#waiters.push({ count: this.sent.length + count, resolve }));
  }
}

export interface Engine {
  tokens: RedisTokenStore;
  transactions: RedisTransactionStore;
  events: RecordedEvents;
}

/** The Redis engine as one process has it. */
export function redisEngine(
  client: ConstructorParameters<typeof RedisCommands>[0],
  deadlines: RedisDeadlines = { readMs: 2000, writeMs: 2000 },
  events = recordEvents(),
): Engine {
  const commands = new RedisCommands(client, deadlines, events);
  return {
    tokens: new RedisTokenStore(commands, 'sess:', events),
    transactions: new RedisTransactionStore(commands, 'sess:'),
    events,
  };
}

export function keyOf(ref: string): string {
  return `sess:oidc.${sha256(ref)}`;
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

let count = 0;

/** A record's name that no other test uses. */
export function newRef(): string {
  count += 1;
  return `ref-${count}`;
}

/** Whether a promise is still open after the turns that are ready now. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const OPEN = Symbol('open');
  const turn = new Promise((resolve) => setImmediate(resolve, OPEN));
  return (await Promise.race([promise, turn])) === OPEN;
}

const logger = { debug() {}, info() {}, warn() {}, error() {} };

/** What `auth()` keeps beside the sessions of this store. */
export function bindTo(store: Store, deadlineMs = 5000, events: Events = recordEvents()): StoreBinding {
  const deadlines = { readMs: deadlineMs, writeMs: deadlineMs };
  return bindStore(store, {
    client: 'https://op.example web-app',
    redis: undefined,
    storeDeadlines: deadlines,
    redisDeadlines: deadlines,
    logger,
    events,
    handleField: 'oidc',
  });
}
