/** Epoch seconds, with fractions. */
export interface Clock {
  now(): number;
}

export interface Logger {
  debug(message: string, details?: object): void;
  info(message: string, details?: object): void;
  warn(message: string, details?: object): void;
  error(message: string, details?: object): void;
}

/** A serialized, encrypted token cache as a store holds it. */
export type StoredRecord =
  | { readonly state: 'absent' }
  /** The session was logged out a moment ago; nothing may be written. */
  | { readonly state: 'tombstone' }
  | {
      readonly state: 'present';
      /** Counts commits; the fence that keeps an older cache from overwriting a newer one. */
      readonly version: number;
      readonly payload: string;
      /** How long the store still keeps it. */
      readonly remainingMs: number;
    };

export interface Commit {
  /** The version this commit was made from; 0 where there was no record. */
  readonly expected: number;
  readonly payload: string;
  readonly ttlMs: number;
}

export type CommitResult = 'committed' | 'newer' | 'tombstone';

/** The right to spend the refresh token of one record, over all processes. */
export interface Lease {
  /** Read after the lease was taken. */
  readonly record: StoredRecord;
  release(): Promise<void>;
}

/**
 * Where token caches live. One record per `ref`.
 *
 * Every method rejects with a `StoreUnavailableError` when the store does not answer within its deadline.
 */
export interface TokenStore {
  load(ref: string): Promise<StoredRecord>;
  /** Waits until nobody else holds the lease of this record. */
  acquire(ref: string): Promise<Lease>;
  /** Compare-and-set on the version; `expected` + 1 is the new one. */
  commit(ref: string, commit: Commit): Promise<CommitResult>;
  /** Lets the record live for `ttlMs` from now, unless it changed meanwhile. */
  renew(ref: string, version: number, ttlMs: number): Promise<void>;
  /** Leaves a tombstone. Returns what was there. */
  remove(ref: string): Promise<StoredRecord>;
}

/** Encryption at rest. `salt` is the secret that only the session holds; `context` is what a text is bound to. */
export interface Cipher {
  seal(text: string, salt: string, context: string): string;
  /** Undefined for anything that this key ring did not seal with this salt and context. */
  open(envelope: string, salt: string, context: string): string | undefined;
}

/** Records of pending logins, taken at most once. */
export interface TransactionStore {
  put(stateHash: string, payload: string, ttlMs: number): Promise<void>;
  /** Reads without consuming. */
  peek(stateHash: string): Promise<string | undefined>;
  /** Atomic: of two callers one gets the record. */
  take(stateHash: string): Promise<string | undefined>;
  remove(stateHash: string): Promise<void>;
}

/** Access tokens in the memory of this process, for the session that was just loaded. */
export interface TokenMemory<T> {
  get(scope: MemoryScope, requestKey: string): T | undefined;
  put(scope: MemoryScope, requestKey: string, value: T, until: number, bytes: number): void;
  forget(ref: string): void;
}

export interface MemoryScope {
  readonly sessionId: string;
  readonly ref: string;
  readonly epoch: number;
}
