import { decodeCache, encodeCache } from '../core/cache-codec.ts';
import type { Cipher, Commit, CommitResult, Events, StoredRecord, TokenStore } from '../core/ports.ts';
import type { SessionHandle, SignedIn } from '../core/session-handle.ts';
import { type CacheLimits, evict, type TokenCache } from '../core/token-cache.ts';
import { Flights } from './flights.ts';

/** A record that was read and, where this session can, opened. */
export interface OpenRecord {
  readonly state: StoredRecord['state'];
  readonly version: number;
  /** Undefined where there is none, or it is damaged, foreign, or of another version. */
  readonly cache: TokenCache | undefined;
  readonly remainingMs: number;
}

/** The right to refresh, and the record it was given for. */
export interface OpenLease {
  readonly record: OpenRecord;
  readonly isHeld: boolean;
  release(): Promise<void>;
}

/** Sealed token caches in a store: opened by the session's key, bound to `ref` and version. */
export class CacheRecords {
  readonly #store: TokenStore;
  readonly #cipher: Cipher;
  readonly #limits: CacheLimits;
  readonly #events: Events;
  readonly #loads = new Flights<OpenRecord>();
  /** The highest version of each record that this process has seen. */
  readonly #seen = new Map<string, number>();

  constructor(store: TokenStore, cipher: Cipher, limits: CacheLimits, events: Events) {
    this.#store = store;
    this.#cipher = cipher;
    this.#limits = limits;
    this.#events = events;
  }

  async load(handle: SessionHandle): Promise<OpenRecord> {
    const seenBefore = this.#seenVersion(handle.ref);
    return this.#open(handle, await this.#store.load(handle.ref), seenBefore);
  }

  /** As `load`; callers at the same time share one read. For deciding, not for writing. */
  async loadTogether(handle: SessionHandle): Promise<OpenRecord> {
    let isOwn = false;
    const record = await this.#loads.join(`${handle.ref} ${handle.key}`, () => {
      isOwn = true;
      return this.load(handle);
    });
    // What another caller began to read may be older than what this process stored since.
    const isOld = record.state === 'present' && record.version < this.#seenVersion(handle.ref);
    return isOld && !isOwn ? this.load(handle) : record;
  }

  /** Waits for the lease, or for a record newer than `seen`. */
  async acquire(handle: SessionHandle, seen: number): Promise<OpenLease> {
    const seenBefore = this.#seenVersion(handle.ref);
    const { record, isHeld, release } = await this.#store.acquire(handle.ref, seen);
    return { record: this.#open(handle, record, seenBefore), isHeld, release };
  }

  /** A cache as it is to be stored as version `expected` + 1: sealed once, so that the same commit can be repeated. */
  seal(session: SignedIn, expected: number, cache: TokenCache, now: number): Commit {
    const { ref, key } = session.handle;
    const bounded = evict(cache, now, this.#limits, (token) => JSON.stringify(token).length);
    const payload = this.#cipher.seal(encodeCache(bounded), key, sealContext(ref, expected + 1));
    return { expected, payload, ttlMs: recordMs(session) };
  }

  async commit({ ref }: SessionHandle, sealed: Commit): Promise<CommitResult> {
    const result = await this.#store.commit(ref, sealed);
    if (result !== 'committed') {
      this.#events.commitRefused({ by: result });
      return result;
    }
    this.#remember(ref, sealed.expected + 1);
    this.#events.commitStored({ bytes: sealed.payload.length });
    return result;
  }

  /** The record outlives the session, which express-session extends without telling. */
  async renewIfNeeded(session: SignedIn, record: OpenRecord): Promise<void> {
    if (record.state !== 'present' || record.remainingMs >= session.sessionMs) return;
    await this.#store.renew(session.handle.ref, record.version, recordMs(session));
  }

  /** Leaves a tombstone and returns what was there. */
  async remove(handle: SessionHandle): Promise<OpenRecord> {
    return this.#open(handle, await this.#store.remove(handle.ref), 0);
  }

  #open(handle: SessionHandle, record: StoredRecord, seenBefore: number): OpenRecord {
    if (record.state !== 'present')
      return { state: record.state, version: 0, cache: undefined, remainingMs: 0 };
    const { version, payload, remainingMs } = record;
    if (this.#isRestored(version, seenBefore))
      return { state: 'present', version, cache: undefined, remainingMs };
    this.#remember(handle.ref, version);
    const text = this.#cipher.open(payload, handle.key, sealContext(handle.ref, version));
    const cache = text === undefined ? undefined : decodeCache(text);
    const isOwn = cache?.account.issuer === handle.issuer && cache.account.subject === handle.subject;
    return { state: 'present', version, cache: isOwn ? cache : undefined, remainingMs };
  }

  /**
   * A store that was restored to an older state holds refresh tokens that were spent since: presenting one would end
   * the whole grant. A process that has not seen the newer version cannot know.
   *
   * @param seenBefore what this process had seen before it asked: a record that got newer while the answer was on its
   * way is no older one.
   */
  #isRestored(version: number, seenBefore: number): boolean {
    if (version >= seenBefore) return false;
    this.#events.olderVersionSeen({ stored: version, seen: seenBefore });
    return true;
  }

  #seenVersion(ref: string): number {
    return this.#seen.get(ref) ?? 0;
  }

  #remember(ref: string, version: number): void {
    const highest = Math.max(version, this.#seenVersion(ref));
    this.#seen.delete(ref);
    this.#seen.set(ref, highest);
    const oldest = this.#seen.size > MAX_SEEN ? this.#seen.keys().next().value : undefined;
    if (oldest !== undefined) this.#seen.delete(oldest);
  }
}

const MAX_SEEN = 10_000;

function sealContext(ref: string, version: number): string {
  return `${ref}.${version}`;
}

function recordMs(session: SignedIn): number {
  return 2 * session.sessionMs;
}
