import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
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
import { FORGOTTEN_MS, HEARTBEAT_MS, LEASE_MS, MAX_RESPECTED } from './lease-times.ts';
import { cacheId, transactionId } from './record-ids.ts';
import type { RedisCommands } from './redis-commands.ts';
import { COMMIT, EXTEND, LOAD, LOAD_OR_LOCK, PUT, RELEASE, REMOVE, RENEW, TAKE } from './redis-scripts.ts';
import { TAKEN_MS, TOMBSTONE_MS } from './session-token-store.ts';

const NOTHING_HELD = async (): Promise<void> => undefined;

/**
 * Token caches in Redis or Valkey: version compare-and-set and a lease by the server's clock, each in one script.
 *
 * Not redlock: the state lives where the lock lives, and the version is the fence.
 */
export class RedisTokenStore implements TokenStore {
  readonly #redis: RedisCommands;
  readonly #prefix: string;
  readonly #events: Events;
  readonly #queue: LeaseQueue;
  /** Of the process, not of one caller: the caller is sent away when the server dies, and its user tries again. */
  readonly #respected = new LRUCache<string, { number: number; until: number }>({ max: MAX_RESPECTED });

  constructor(redis: RedisCommands, prefix: string, events: Events) {
    this.#redis = redis;
    this.#prefix = prefix;
    this.#events = events;
    this.#queue = new LeaseQueue(events);
  }

  async load(ref: string): Promise<StoredRecord> {
    return readRecord(await this.#redis.run(LOAD, this.#key(ref), [], 'read'));
  }

  acquire(ref: string, seen: number): Promise<Lease> {
    const id = randomBytes(12).toString('base64url');
    return this.#queue.acquire(ref, () => this.#tryAcquire(this.#key(ref), id, seen));
  }

  async #tryAcquire(key: string, id: string, seen: number): Promise<Lease | undefined> {
    const words = [seen, id, LEASE_MS, this.#respectedLease(key)];
    const answer = await this.#loadOrLock(key, id, words);
    if (answer[0] === 'busy') {
      const until = performance.now() + Number(answer[1]) + FORGOTTEN_MS;
      this.#respected.set(key, { number: Number(answer[2]), until });
    }
    return answer[0] === 'busy' || answer[0] === 'forgotten' ? undefined : this.#leaseFrom(key, id, answer);
  }

  /** The number of a lease that this process has seen and whose holder may still be about to commit. */
  #respectedLease(key: string): number {
    const respected = this.#respected.get(key);
    return respected !== undefined && performance.now() < respected.until ? respected.number : 0;
  }

  /** A lease that is given when nobody waits for it any more would hold up everybody until it ends. */
  async #loadOrLock(key: string, id: string, words: (string | number)[]): Promise<unknown[]> {
    const giveBack = (answer: unknown) => {
      if (isHeld(answer as unknown[])) void this.#release(key, id);
    };
    return (await this.#redis.run(LOAD_OR_LOCK, key, words, 'read', giveBack)) as unknown[];
  }

  #leaseFrom(key: string, id: string, answer: unknown[]): Lease {
    const record = readRecord(answer);
    if (!isHeld(answer)) return { record, isHeld: false, release: NOTHING_HELD };
    const [, , , , how, number] = answer;
    if (how === 'takeover') this.#events.leaseTakenOver({});
    const heartbeat = setInterval(() => {
      // A missed beat is no fault yet: the next one comes before the lease ends, and the version is the fence.
      this.#redis.run(EXTEND, key, [id, LEASE_MS, Number(number)], 'read').catch(() => undefined);
    }, HEARTBEAT_MS);
    heartbeat.unref?.();
    const release = (): Promise<void> => {
      clearInterval(heartbeat);
      return this.#release(key, id);
    };
    return { record, isHeld: true, release };
  }

  /** A lease that cannot be given back ends by itself. */
  async #release(key: string, id: string): Promise<void> {
    await this.#redis.run(RELEASE, key, [id], 'read').catch(() => undefined);
  }

  async commit(ref: string, { expected, payload, ttlMs }: Commit): Promise<CommitResult> {
    return (await this.#redis.run(
      COMMIT,
      this.#key(ref),
      [expected, payload, ttlMs],
      'write',
    )) as CommitResult;
  }

  async renew(ref: string, version: number, ttlMs: number): Promise<void> {
    await this.#redis.run(RENEW, this.#key(ref), [version, ttlMs], 'write');
  }

  async remove(ref: string): Promise<StoredRecord> {
    return readRecord(await this.#redis.run(REMOVE, this.#key(ref), [TOMBSTONE_MS], 'write'));
  }

  #key(ref: string): string {
    return this.#prefix + cacheId(ref);
  }
}

function isHeld(answer: unknown[]): boolean {
  return answer[4] === 'held' || answer[4] === 'takeover';
}

function readRecord(answer: unknown): StoredRecord {
  const [state, version, payload, ttl] = answer as [string, string, string, number];
  if (state === 'tombstone') return { state };
  if (state !== 'present' || typeof payload !== 'string') return { state: 'absent' };
  const remainingMs = Number(ttl);
  return {
    state,
    version: Number(version),
    payload,
    remainingMs: remainingMs < 0 ? Number.POSITIVE_INFINITY : remainingMs,
  };
}

/** Pending logins in Redis, taken by one script. */
export class RedisTransactionStore implements TransactionStore {
  readonly #redis: RedisCommands;
  readonly #prefix: string;

  constructor(redis: RedisCommands, prefix: string) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  async put(stateHash: string, payload: string, ttlMs: number): Promise<void> {
    await this.#redis.run(PUT, this.#key(stateHash), [payload, ttlMs], 'write');
  }

  async peek(stateHash: string): Promise<StoredTransaction | undefined> {
    const [payload, taken] = (await this.#redis.read(this.#key(stateHash), 'HMGET', 'p', 'taken')) as (
      | string
      | null
    )[];
    return typeof payload === 'string' ? { payload, isTaken: taken !== null } : undefined;
  }

  async take(stateHash: string): Promise<string | undefined> {
    const payload = await this.#redis.run(TAKE, this.#key(stateHash), [TAKEN_MS], 'write');
    return typeof payload === 'string' ? payload : undefined;
  }

  async remove(stateHash: string): Promise<void> {
    await this.#redis.write(this.#key(stateHash), 'DEL');
  }

  #key(stateHash: string): string {
    return this.#prefix + transactionId(stateHash);
  }
}
