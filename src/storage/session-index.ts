import type { SessionIndex } from '../core/ports.ts';
import { hash, indexId } from './record-ids.ts';
import type { RedisCommands } from './redis-commands.ts';
import { INDEX_ADD, INDEX_LIST } from './redis-scripts.ts';
import { Serial } from './serial.ts';
import type { RecordFields, SessionStoreCalls } from './session-store-calls.ts';
import { type TimedLock, UNSHARED } from './timed-lock.ts';

/** Of one name: nobody has more sessions than this open, and a record has to end somewhere. */
const MAX_ENTRIES = 1000;

/** In Redis: one hash per name, its fields `<end in the server's milliseconds> <entry>`. */
export function redisIndex(redis: RedisCommands, prefix: string): SessionIndex {
  const keyOf = (name: string) => prefix + indexId(name);
  return {
    async add(name, id, entry, ttlMs) {
      await redis.run(INDEX_ADD, keyOf(name), [hash(id), entry, Math.ceil(ttlMs), MAX_ENTRIES], 'write');
    },
    async list(name) {
      return (await redis.run(INDEX_LIST, keyOf(name), [], 'read')) as string[];
    },
    async remove(name, ids) {
      await redis.write(keyOf(name), 'HDEL', ...ids.map(hash));
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
    return this.#change(name, (entries) => ({
      ...entries,
      [hash(id)]: { entry, until: Date.now() + ttlMs },
    }));
  }

  async list(name: string): Promise<string[]> {
    const record = await this.#calls.get(indexId(name));
    return Object.values(living(record)).map(({ entry }) => entry);
  }

  remove(name: string, ids: readonly string[]): Promise<void> {
    const fields = ids.map(hash);
    return this.#change(name, (entries) =>
      Object.fromEntries(Object.entries(entries).filter(([field]) => !fields.includes(field))),
    );
  }

  #change(name: string, change: (entries: Entries) => Entries): Promise<void> {
    const recordId = indexId(name);
    return this.#writes.run(recordId, async () => {
      const held = this.#lock === undefined ? UNSHARED : await this.#lock.take(recordId);
      try {
        const entries = newest(change(living(await this.#calls.get(recordId))));
        const lastUntil = Math.max(0, ...Object.values(entries).map(({ until }) => until));
        if (lastUntil === 0) await this.#calls.destroy(recordId);
        else await this.#calls.set(recordId, { entries }, lastUntil - Date.now());
      } finally {
        await held.release();
      }
    });
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
