/** Epoch seconds, with fractions. */
export interface Clock {
  now(): number;
}

/** Where log lines go; `details` is a small object without secrets. */
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
  /** Read after the lease was taken, or newer than what the caller had seen: then there is no lease, and no need. */
  readonly record: StoredRecord;
  /** False where the record is newer than the caller's, ended, or gone. */
  readonly isHeld: boolean;
  release(): Promise<void>;
}

/**
 * Where token caches live. One record per `ref`.
 *
 * Every method rejects with a `StoreUnavailableError` when the store does not answer within its deadline.
 */
export interface TokenStore {
  load(ref: string): Promise<StoredRecord>;
  /** Waits until the record is newer than version `seen`, or nobody else holds its lease. */
  acquire(ref: string, seen: number): Promise<Lease>;
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

export interface StoredTransaction {
  readonly payload: string;
  /** Some process took it and is redeeming, or has redeemed, its code. */
  readonly isTaken: boolean;
}

/** Records of pending logins, taken at most once over all processes. */
export interface TransactionStore {
  put(stateHash: string, payload: string, ttlMs: number): Promise<void>;
  /** Reads without consuming. */
  peek(stateHash: string): Promise<StoredTransaction | undefined>;
  /** Atomic: of several callers one gets the payload. It stays readable, as taken, for a minute. */
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

/** What happens that an operator wants to count. None of it holds token material. */
export interface Events {
  /** A refresh grant is about to be sent. */
  refreshStarted(details: { reason: string }): void;
  refreshSucceeded(details: { durationMs: number }): void;
  /** It failed in a way that passes: the tokens are kept. */
  refreshFailed(details: { outcome: string; status: number | undefined }): void;
  /** The provider does not take this refresh token any more. */
  refreshRejected(details: object): void;
  /** The provider may have rotated, and its answer did not arrive. */
  responseLost(details: object): void;
  leaseWaited(details: { waitedMs: number }): void;
  /** The holder of the lease did not give it back. */
  leaseTakenOver(details: object): void;
  /** A token cache was stored; its size as the store sees it. */
  commitStored(details: { bytes: number }): void;
  commitRefused(details: { by: 'newer' | 'tombstone' }): void;
  commitRetried(details: object): void;
  /** The store holds an older record than this process has seen. */
  olderVersionSeen(details: { stored: number; seen: number }): void;
  breakerOpened(details: { forMs: number }): void;
  breakerClosed(details: object): void;
  storeTimedOut(details: object): void;
  memoryHit(details: object): void;
  memoryMissed(details: object): void;
}

/** Times before which a provider does not want to be called, shared by the processes of an app. */
export interface PatienceStore {
  /** Epoch seconds; 0 for none. */
  read(): Promise<number>;
  write(notBefore: number, ttlMs: number): Promise<void>;
}

/** Values that may be forgotten at any time. */
export interface BoundedCache<T> {
  get(key: string): T | undefined;
  set(key: string, value: T): void;
  delete(key: string): void;
}

/** Which entries are under a name, over all processes: each under an id of its own, for a while. */
export interface SessionIndex {
  /** Adds an entry, or puts it in the place of the one with this id. */
  add(name: string, id: string, entry: string, ttlMs: number): Promise<void>;
  list(name: string): Promise<string[]>;
  remove(name: string, ids: readonly string[]): Promise<void>;
}

/** Sealed values that the processes of an app share. */
export interface SharedValues {
  read(key: string): Promise<string | undefined>;
  write(key: string, payload: string, ttlMs: number): Promise<void>;
}
