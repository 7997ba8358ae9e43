import type { Clock, Commit, CommitResult, Events, Logger } from '../core/ports.ts';
import type { SignedIn } from '../core/session-handle.ts';
import type { RefreshToken, TokenCache } from '../core/token-cache.ts';
import type { CacheRecords, OpenRecord } from './cache-records.ts';
import { pause } from './flights.ts';

interface CommitParts {
  readonly records: CacheRecords;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: Events;
}

/** What a grant was made from. */
export interface GrantBase {
  readonly session: SignedIn;
  readonly cache: TokenCache;
  readonly version: number;
  readonly spent: RefreshToken;
}

type Change = (cache: TokenCache) => TokenCache;

/** A commit that could not be stored. */
interface Unsaved {
  readonly sealed: Commit;
  /** The change that it was, for a newer record that still holds `spent`. */
  readonly redo?: { readonly spent: RefreshToken; readonly change: Change };
}

/** As often as a login tries: each of them lost to the commit of another. */
const CHANGE_TRIES = 50;
const RETRY_SECONDS = 30;
const RETRY_MS = { first: 100, most: 2000 };
const MAX_UNSAVED = 1000;

/** Commits that do not give up at the first fault of the store: of a refresh token there is no second copy. */
export class PatientCommits {
  readonly #parts: CommitParts;
  /** The provider has rotated, so the only copy of a refresh token is here. */
  readonly #unsaved = new Map<string, Unsaved>();
  /** The store is known to be out of order; said once. */
  #isFailing = false;

  constructor(parts: CommitParts) {
    this.#parts = parts;
  }

  /** Tries for half a minute; after that the cache is kept in memory for the next lease. */
  commit(session: SignedIn, expected: number, cache: TokenCache): Promise<CommitResult> {
    const sealed = this.#seal(session, expected, cache);
    return this.#patiently(session, { sealed }, () => this.#parts.records.commit(session.handle, sealed));
  }

  /**
   * Commits what a grant brought, as a change of the cache that it was made from. A login that stored its tokens
   * meanwhile made a newer record: where that still holds the refresh token that was spent, the change is made to it,
   * or the one that came for it would be lost.
   */
  async change(
    { session, spent, ...base }: GrantBase,
    change: Change,
  ): Promise<{ result: CommitResult; cache: TokenCache; version: number }> {
    const { records } = this.#parts;
    for (let { cache, version } = base, tries = 1; ; tries += 1) {
      const changed = change(cache);
      const unsaved = { sealed: this.#seal(session, version, changed), redo: { spent, change } };
      const result = await this.#patiently(session, unsaved, () =>
        records.commit(session.handle, unsaved.sealed),
      );
      const stored = { result, cache: changed, version: version + 1 };
      if (result !== 'newer' || tries >= CHANGE_TRIES) return stored;
      const newer = await this.#patiently(session, unsaved, () => records.load(session.handle));
      if (newer.state === 'tombstone') return { ...stored, result: 'tombstone' };
      if (newer.cache === undefined || !holds(newer.cache, spent)) return stored;
      ({ cache, version } = { cache: newer.cache, version: newer.version });
    }
  }

  /** Stores first what could not be stored before; the record as it is then. */
  async saveUnsaved(session: SignedIn, record: OpenRecord): Promise<OpenRecord> {
    const { ref } = session.handle;
    const unsaved = this.#unsaved.get(ref);
    if (unsaved === undefined) return record;
    const { sealed, redo } = unsaved;
    const { cache, version } = record;
    if (version === sealed.expected && record.state !== 'tombstone') {
      await this.#parts.records.commit(session.handle, sealed);
    } else if (redo !== undefined && cache !== undefined && holds(cache, redo.spent)) {
      await this.change({ session, cache, version, spent: redo.spent }, redo.change);
    }
    this.#unsaved.delete(ref);
    return this.#parts.records.load(session.handle);
  }

  #seal(session: SignedIn, expected: number, cache: TokenCache): Commit {
    const { records, clock } = this.#parts;
    return records.seal(session, expected, cache, clock.now());
  }

  /** Calls the store until it answers. */
  async #patiently<T>(session: SignedIn, unsaved: Unsaved, call: () => Promise<T>): Promise<T> {
    const { clock, logger, events } = this.#parts;
    const giveUpAt = clock.now() + RETRY_SECONDS;
    for (let delayMs = RETRY_MS.first; ; delayMs = Math.min(2 * delayMs, RETRY_MS.most)) {
      try {
        // A commit that was reported as failed may have arrived: the same one again is committed.
        const result = await call();
        this.#isFailing = false;
        return result;
      } catch (error) {
        if (clock.now() >= giveUpAt) {
          this.#keep(session.handle.ref, unsaved);
          logger.error(
            'A refreshed token could not be stored; this process keeps it until the store accepts it',
          );
          throw error;
        }
        events.commitRetried({});
        if (!this.#isFailing) {
          logger.warn('A refreshed token cannot be stored now; that is tried again for half a minute', {
            error: (error as Error).message,
          });
        }
        this.#isFailing = true;
        await pause(delayMs);
      }
    }
  }

  #keep(ref: string, unsaved: Unsaved): void {
    this.#unsaved.set(ref, unsaved);
    const oldest = this.#unsaved.size > MAX_UNSAVED ? this.#unsaved.keys().next().value : undefined;
    if (oldest !== undefined) this.#unsaved.delete(oldest);
  }
}

function holds(cache: TokenCache, { token }: RefreshToken): boolean {
  return cache.refreshTokens.some((entry) => entry.token === token);
}
