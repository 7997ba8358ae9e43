import { createHash } from 'node:crypto';
import type {
  Commit,
  CommitResult,
  Lease,
  StoredRecord,
  TokenStore,
  TransactionStore,
} from '../core/ports.ts';
import { Serial } from './serial.ts';
import { type RecordFields, remainingMs, type SessionStoreCalls } from './session-store-calls.ts';

const TOMBSTONE_MS = 60_000;

/** What the ids of our records in a session store begin with. */
export const RECORD_PREFIX = 'oidc.';

/**
 * Token caches as records of their own in any express-session store, by get, set and destroy alone.
 *
 * A store has no compare-and-set, so reading, comparing and writing are serialised here per record. That holds for
 * all middlewares of one process that share the store.
 */
export class SessionTokenStore implements TokenStore {
  readonly #calls: SessionStoreCalls;
  readonly #writes = new Serial();
  readonly #leases = new Serial();

  constructor(calls: SessionStoreCalls) {
    this.#calls = calls;
  }

  async load(ref: string): Promise<StoredRecord> {
    return readRecord(await this.#calls.get(recordId(ref)));
  }

  async acquire(ref: string): Promise<Lease> {
    const release = await this.#leases.acquire(ref);
    try {
      const record = await this.load(ref);
      return { record, release: async () => release() };
    } catch (error) {
      release();
      throw error;
    }
  }

  commit(ref: string, { expected, payload, ttlMs }: Commit): Promise<CommitResult> {
    return this.#writes.run(ref, async () => {
      const current = await this.load(ref);
      if (current.state === 'tombstone') return 'tombstone';
      const version = current.state === 'present' ? current.version : 0;
      // A write that was reported as failed may have arrived.
      if (current.state === 'present' && current.payload === payload) return 'committed';
      if (version !== expected) return 'newer';
      await this.#calls.set(recordId(ref), { version: expected + 1, payload }, ttlMs);
      return 'committed';
    });
  }

  renew(ref: string, version: number, ttlMs: number): Promise<void> {
    return this.#writes.run(ref, async () => {
      const current = await this.load(ref);
      if (current.state !== 'present' || current.version !== version) return;
      await this.#calls.set(recordId(ref), { version, payload: current.payload }, ttlMs);
    });
  }

  remove(ref: string): Promise<StoredRecord> {
    return this.#writes.run(ref, async () => {
      const current = await this.load(ref);
      if (current.state !== 'tombstone')
        await this.#calls.set(recordId(ref), { tombstone: true }, TOMBSTONE_MS);
      return current;
    });
  }
}

function readRecord(record: RecordFields | undefined): StoredRecord {
  if (record === undefined) return { state: 'absent' };
  if (record.tombstone === true) return { state: 'tombstone' };
  const { version, payload } = record;
  if (!Number.isSafeInteger(version) || typeof payload !== 'string') return { state: 'absent' };
  return { state: 'present', version: version as number, payload, remainingMs: remainingMs(record) };
}

function recordId(ref: string): string {
  return `${RECORD_PREFIX}${createHash('sha256').update(ref).digest('hex')}`;
}

/** Pending logins as records of their own in any express-session store. */
export class SessionTransactionStore implements TransactionStore {
  readonly #calls: SessionStoreCalls;
  readonly #takes = new Serial();

  constructor(calls: SessionStoreCalls) {
    this.#calls = calls;
  }

  put(stateHash: string, payload: string, ttlMs: number): Promise<void> {
    return this.#calls.set(transactionId(stateHash), { payload }, ttlMs);
  }

  async peek(stateHash: string): Promise<string | undefined> {
    const record = await this.#calls.get(transactionId(stateHash));
    return typeof record?.payload === 'string' ? record.payload : undefined;
  }

  take(stateHash: string): Promise<string | undefined> {
    return this.#takes.run(stateHash, async () => {
      const payload = await this.peek(stateHash);
      if (payload !== undefined) await this.remove(stateHash);
      return payload;
    });
  }

  remove(stateHash: string): Promise<void> {
    return this.#calls.destroy(transactionId(stateHash));
  }
}

function transactionId(stateHash: string): string {
  return `${RECORD_PREFIX}tx.${stateHash}`;
}
