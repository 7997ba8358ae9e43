import { decodeCache, encodeCache } from '../core/cache-codec.ts';
import type { Cipher, CommitResult, StoredRecord, TokenStore } from '../core/ports.ts';
import type { SessionHandle, SignedIn } from '../core/session-handle.ts';
import { type CacheLimits, evict, type TokenCache } from '../core/token-cache.ts';

/** A record that was read and, where this session can, opened. */
export interface OpenRecord {
  readonly state: StoredRecord['state'];
  readonly version: number;
  /** Undefined where there is none, or it is damaged, foreign, or of another version. */
  readonly cache: TokenCache | undefined;
  readonly remainingMs: number;
}

/** Sealed token caches in a store: opened by the session's key, bound to `ref` and version. */
export class CacheRecords {
  readonly #store: TokenStore;
  readonly #cipher: Cipher;
  readonly #limits: CacheLimits;

  constructor(store: TokenStore, cipher: Cipher, limits: CacheLimits) {
    this.#store = store;
    this.#cipher = cipher;
    this.#limits = limits;
  }

  async load(handle: SessionHandle): Promise<OpenRecord> {
    return this.#open(handle, await this.#store.load(handle.ref));
  }

  /** Waits for the lease; the record was read under it. */
  async acquire(handle: SessionHandle): Promise<{ record: OpenRecord; release: () => Promise<void> }> {
    const lease = await this.#store.acquire(handle.ref);
    return { record: this.#open(handle, lease.record), release: () => lease.release() };
  }

  async commit(session: SignedIn, expected: number, cache: TokenCache, now: number): Promise<CommitResult> {
    const { handle } = session;
    const bounded = evict(cache, now, this.#limits, (token) => JSON.stringify(token).length);
    const payload = this.#cipher.seal(
      encodeCache(bounded),
      handle.key,
      sealContext(handle.ref, expected + 1),
    );
    return this.#store.commit(handle.ref, { expected, payload, ttlMs: recordMs(session) });
  }

  /** The record outlives the session, which express-session extends without telling. */
  async renewIfNeeded(session: SignedIn, record: OpenRecord): Promise<void> {
    if (record.state !== 'present' || record.remainingMs >= session.sessionMs) return;
    await this.#store.renew(session.handle.ref, record.version, recordMs(session));
  }

  /** Leaves a tombstone and returns what was there. */
  async remove(handle: SessionHandle): Promise<OpenRecord> {
    return this.#open(handle, await this.#store.remove(handle.ref));
  }

  #open(handle: SessionHandle, record: StoredRecord): OpenRecord {
    if (record.state !== 'present')
      return { state: record.state, version: 0, cache: undefined, remainingMs: 0 };
    const { version, payload, remainingMs } = record;
    const text = this.#cipher.open(payload, handle.key, sealContext(handle.ref, version));
    const cache = text === undefined ? undefined : decodeCache(text);
    const isOwn = cache?.account.issuer === handle.issuer && cache.account.subject === handle.subject;
    return { state: 'present', version, cache: isOwn ? cache : undefined, remainingMs };
  }
}

function sealContext(ref: string, version: number): string {
  return `${ref}.${version}`;
}

function recordMs(session: SignedIn): number {
  return 2 * session.sessionMs;
}
