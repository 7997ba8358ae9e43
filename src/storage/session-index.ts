import { createHash } from 'node:crypto';
import { StoreUnavailableError } from '../core/errors.ts';
import type { SessionIndex } from '../core/ports.ts';
import { jittered, nextDelay, POLL_MS, pause } from './polling.ts';
import type { RedisCommands } from './redis-commands.ts';
import { INDEX_ADD, INDEX_LIST } from './redis-scripts.ts';
import { Serial } from './serial.ts';
import {
  RECORD_PREFIX,
  type RecordFields,
  remainingMs,
  type SessionStoreCalls,
} from './session-store-calls.ts';
import type { TimedLock } from './timed-lock.ts';

/** Of one name: nobody has more sessions than this open, and a record has to end somewhere. */
const MAX_ENTRIES = 1000;

/** Longer than the lock of a process that died while it held it. */
const LOCK_WAIT_MS = 10_000;

function idOf(name: string): string {
  return `${RECORD_PREFIX}index.${hash(name)}`;
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** In Redis: one hash per name, its fields `<end in the server's milliseconds> <entry>`. */
export function redisIndex(redis: RedisCommands, prefix: string): SessionIndex {
  const keyOf = (name: string) => prefix + idOf(name);
  return {
    async add(name, id, entry, ttlMs) {
      await redis.run(INDEX_ADD, keyOf(name), [hash(id), entry, Math.ceil(ttlMs), MAX_ENTRIES], 'write');
    },
    async list(name) {
      return (await redis.run(INDEX_LIST, keyOf(name), [], 'read')) as string[];
    },
    async remove(name) {
      await redis.write(keyOf(name), 'DEL');
    },
  };
}

type Entries = Record<string, { readonly entry: string; readonly until: number }>;

/** In any express-session store: one record per name, read, changed and written under the timed lock. */
export class StoreSessionIndex implements SessionIndex {
  readonly #calls: SessionStoreCalls;
  readonly #lock: TimedLock | undefined;
  readonly #writes = new Serial();

  /** @param lock undefined for a store that lives in this process alone. */
  constructor(calls: SessionStoreCalls, lock: TimedLock | undefined) {
    this.#calls = calls;
    this.#lock = lock;
  }

  add(name: string, id: string, entry: string, ttlMs: number): Promise<void> {
    const recordId = idOf(name);
    return this.#writes.run(recordId, async () => {
      const release = await this.#take(recordId);
      try {
        const record = await this.#calls.get(recordId);
        const entries = { ...living(record), [hash(id)]: { entry, until: Date.now() + ttlMs } };
        const lifetimeMs = Math.max(ttlMs, record === undefined ? 0 : remainingMs(record));
        await this.#calls.set(recordId, { entries: newest(entries) }, lifetimeMs);
      } finally {
        await release();
      }
    });
  }

  async list(name: string): Promise<string[]> {
    const record = await this.#calls.get(idOf(name));
    return Object.values(living(record)).map(({ entry }) => entry);
  }

  remove(name: string): Promise<void> {
    return this.#calls.destroy(idOf(name));
  }

  async #take(recordId: string): Promise<() => Promise<void>> {
    if (this.#lock === undefined) return async () => undefined;
    const giveUpAt = performance.now() + LOCK_WAIT_MS;
    for (let delayMs: number = POLL_MS.first; ; delayMs = nextDelay(delayMs)) {
      const held = await this.#lock.tryTake(recordId);
      if (held !== undefined) return held.release;
      if (performance.now() > giveUpAt)
        throw new StoreUnavailableError('The index of sessions could not be locked in the session store.');
      await pause(jittered(delayMs));
    }
  }
}

function living(record: RecordFields | undefined): Entries {
  const all = Object.entries((record?.entries ?? {}) as Entries);
  return Object.fromEntries(all.filter(([, { until }]) => until > Date.now()));
}

function newest(entries: Entries): Entries {
  const all = Object.entries(entries);
  if (all.length <= MAX_ENTRIES) return entries;
  return Object.fromEntries(all.sort(([, a], [, b]) => b.until - a.until).slice(0, MAX_ENTRIES));
}
