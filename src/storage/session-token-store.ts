import { StoreUnavailableError } from '../core/errors.ts';
import type {
  Commit,
  CommitResult,
  Events,
  Lease,
  StoredRecord,
  StoredTransaction,
  TokenStore,
  TransactionStore,
} from '../core/ports.ts';
import { LeaseQueue } from './lease-queue.ts';
import { cacheId, hash, transactionId } from './record-ids.ts';
import { Serial } from './serial.ts';
import { type RecordFields, remainingMs, type SessionStoreCalls } from './session-store-calls.ts';
import { type HeldLock, type TimedLock, UNSHARED } from './timed-lock.ts';

export const TOMBSTONE_MS = 60_000;

/** How long a transaction that was taken stays readable, for a callback that was sent twice. */
export const TAKEN_MS = 60_000;

/**
 * Token caches as records of their own in any express-session store, by get, set and destroy alone.
 *
 * A store has no compare-and-set, so reading, comparing and writing are serialised here per record. That holds for
 * all middlewares of one process that share the store; between processes the timed lock keeps refreshes apart.
 */
export class SessionTokenStore implements TokenStore {
  readonly #calls: SessionStoreCalls;
  readonly #lock: TimedLock | undefined;
  readonly #events: Events;
  readonly #writes = new Serial();
  readonly #queue: LeaseQueue;

  /** @param lock undefined for a store that lives in this process alone. */
  constructor(calls: SessionStoreCalls, lock: TimedLock | undefined, events: Events) {
    this.#calls = calls;
    this.#lock = lock;
    this.#events = events;
    this.#queue = new LeaseQueue(events);
  }

  async load(ref: string): Promise<StoredRecord> {
    try {
      return await this.#read(ref);
    } catch (error) {
      // A text that is no JSON, such as half a record, will be none at the next try either.
      if (isSyntaxError(error)) return { state: 'absent' };
      throw error;
    }
  }

  async #read(ref: string): Promise<StoredRecord> {
    return readRecord(await this.#calls.get(cacheId(ref)));
  }

  acquire(ref: string, seen: number): Promise<Lease> {
    return this.#queue.acquire(ref, () => this.#tryAcquire(ref, seen));
  }

  async #tryAcquire(ref: string, seen: number): Promise<Lease | undefined> {
    const record = await this.load(ref);
    if (record.state !== 'present' || record.version > seen) return withoutLease(record);
    if (this.#lock === undefined) return { record, isHeld: true, release: NOTHING_HELD };
    const held = await this.#lock.tryTake(hash(ref));
    if (held?.isTakeover) this.#events.leaseTakenOver({});
    return held && this.#readUnder(held, ref);
  }

  async #readUnder(held: HeldLock, ref: string): Promise<Lease> {
    try {
      return { record: await this.load(ref), isHeld: true, release: held.release };
    } catch (error) {
      await held.release();
      throw error;
    }
  }

  commit(ref: string, { expected, payload, ttlMs }: Commit): Promise<CommitResult> {
    return this.#writes.run(ref, async () => {
      // Not taken for absent where a refresh token would be dropped for it: a store that asks by HTTP may parse an error page.
      const current = expected === 0 ? await this.load(ref) : await this.#read(ref);
      if (current.state === 'tombstone') return 'tombstone';
      // A write that was reported as failed may have arrived.
      if (current.state === 'present' && current.payload === payload) return 'committed';
      // An older record: the store came back with older data.
      if (current.state === 'present' ? current.version > expected : expected > 0) return 'newer';
      await this.#calls.set(cacheId(ref), { version: expected + 1, payload }, ttlMs);
      return 'committed';
    });
  }

  renew(ref: string, version: number, ttlMs: number): Promise<void> {
    return this.#writes.run(ref, async () => {
      const current = await this.load(ref);
      if (current.state !== 'present' || current.version !== version) return;
      await this.#calls.set(cacheId(ref), { version, payload: current.payload }, ttlMs);
    });
  }

  remove(ref: string): Promise<StoredRecord> {
    return this.#writes.run(ref, async () => {
      const current = await this.load(ref);
      if (current.state !== 'tombstone')
        await this.#calls.set(cacheId(ref), { tombstone: true }, TOMBSTONE_MS);
      return current;
    });
  }
}

const NOTHING_HELD = async (): Promise<void> => undefined;

function withoutLease(record: StoredRecord): Lease {
  return { record, isHeld: false, release: NOTHING_HELD };
}

function readRecord(record: RecordFields | undefined): StoredRecord {
  if (record === undefined) return { state: 'absent' };
  if (record.tombstone === true) return { state: 'tombstone' };
  const { version, payload } = record;
  if (!Number.isSafeInteger(version) || typeof payload !== 'string') return { state: 'absent' };
  return { state: 'present', version: version as number, payload, remainingMs: remainingMs(record) };
}

function isSyntaxError(error: unknown): boolean {
  const cause = error instanceof StoreUnavailableError ? error.cause : undefined;
  return cause instanceof Error && cause.name === 'SyntaxError';
}

/** Pending logins as records of their own in any express-session store. */
export class SessionTransactionStore implements TransactionStore {
  readonly #calls: SessionStoreCalls;
  readonly #lock: TimedLock | undefined;
  readonly #takes = new Serial();

  constructor(calls: SessionStoreCalls, lock: TimedLock | undefined) {
    this.#calls = calls;
    this.#lock = lock;
  }

  put(stateHash: string, payload: string, ttlMs: number): Promise<void> {
    return this.#calls.set(transactionId(stateHash), { payload }, ttlMs);
  }

  async peek(stateHash: string): Promise<StoredTransaction | undefined> {
    const record = await this.#calls.get(transactionId(stateHash));
    return typeof record?.payload === 'string'
      ? { payload: record.payload, isTaken: record.taken === true }
      : undefined;
  }

  take(stateHash: string): Promise<string | undefined> {
    return this.#takes.run(stateHash, async () => {
      const found = await this.peek(stateHash);
      if (found === undefined || found.isTaken) return undefined;
      const held = this.#lock === undefined ? UNSHARED : await this.#lock.take(`tx.${stateHash}`);
      return this.#takeUnder(held, stateHash);
    });
  }

  async #takeUnder(held: HeldLock, stateHash: string): Promise<string | undefined> {
    try {
      const found = await this.peek(stateHash);
      if (found === undefined || found.isTaken) return undefined;
      await this.#calls.set(transactionId(stateHash), { payload: found.payload, taken: true }, TAKEN_MS);
      return found.payload;
    } finally {
      await held.release();
    }
  }

  remove(stateHash: string): Promise<void> {
    return this.#calls.destroy(transactionId(stateHash));
  }
}
