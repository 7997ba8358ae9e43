import { MemoryStore, type SessionData, type Store } from 'express-session';

export type StoreOperation = 'get' | 'set' | 'destroy' | 'touch';

/** What goes wrong with an operation: an error, no answer ever, or so many milliseconds late. */
export type StoreFault = 'fail' | 'hang' | number;

/** A fault for every record, or one decided by the record's id (`undefined`: none). */
export type StoreFaults = Partial<
  Record<StoreOperation, StoreFault | ((sid: string) => StoreFault | undefined)>
>;

export interface Counted {
  calls: { operation: StoreOperation; sid: string }[];
  fault: StoreFaults;
  /** Operations on records whose id starts with `prefix`, or does not (`{ not: 'oidc.' }`: the sessions). */
  count(operation?: StoreOperation, prefix?: string | { not: string }): number;
}

/** Not taken for a store of this process alone. */
export class DistantStore extends MemoryStore {}

type Callback = (error?: unknown, data?: SessionData | null) => void;
type Operation = (sid: string, ...rest: unknown[]) => void;

/** Replaces a store's operations in place, so that it is still found to be what it is (`client`, `prefix`, …). */
function wrapOperations(
  store: Store,
  wrapper: (
    operation: StoreOperation,
    run: (callback: Callback) => void,
    sid: string,
    done: Callback,
  ) => void,
): void {
  for (const operation of ['get', 'set', 'destroy', 'touch'] as const) {
    const original = store[operation] as Operation | undefined;
    if (!original) continue;
    const wrapped = (sid: string, ...rest: unknown[]): void => {
      const last = rest.at(-1);
      const done = (typeof last === 'function' ? last : () => {}) as Callback;
      const data = rest.filter((argument) => typeof argument !== 'function' && argument !== undefined);
      wrapper(operation, (callback) => original.call(store, sid, ...data, callback), sid, done);
    };
    Object.assign(store, { [operation]: wrapped });
  }
}

/** Counts a store's operations, and makes them fail, hang or take long as `fault` says. */
export function countingStore<S extends Store = Store>(
  store: S = new MemoryStore() as Store as S,
): S & Counted {
  const result: S & Counted = Object.assign(store, {
    calls: [],
    fault: {},
    count(operation?: StoreOperation, prefix: string | { not: string } = '') {
      return result.calls.filter((call) => {
        const fits =
          typeof prefix === 'string' ? call.sid.startsWith(prefix) : !call.sid.startsWith(prefix.not);
        return fits && (operation === undefined || call.operation === operation);
      }).length;
    },
  } satisfies Counted);
  wrapOperations(store, (operation, run, sid, done) => {
    result.calls.push({ operation, sid });
    const planned = result.fault[operation];
    const fault = typeof planned === 'function' ? planned(sid) : planned;
    if (fault === 'hang') return;
    if (fault === 'fail') setImmediate(done, new Error(`the store failed to ${operation}`));
    else if (fault === undefined) run(done);
    else setTimeout(() => run(done), fault);
  });
  return result;
}

/** Random numbers from 0 to 1 that are the same in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A store behind a slow network: a random part of the latency before the operation, the rest after it. */
export function latencyStore<S extends Store = Store>(
  minMs: number,
  maxMs: number,
  seed: number,
  store: S = new MemoryStore() as Store as S,
): S {
  const random = seededRandom(seed);
  wrapOperations(store, (_operation, run, _sid, done) => {
    const latencyMs = minMs + random() * (maxMs - minMs);
    const thereMs = latencyMs * random();
    setTimeout(() => {
      run((...answer) => void setTimeout(done, latencyMs - thereMs, ...answer));
    }, thereMs);
  });
  return store;
}
