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

const CHANGE_TRIES = 5;
const RETRY_SECONDS = 30;
const RETRY_MS = { first: 100, most: 2000 };
const MAX_UNSAVED = 1000;

/** Commits that do not give up at the first fault of the store: of a refresh token there is no second copy. */
export class PatientCommits {
  readonly #parts: CommitParts;
  /** The provider has rotated, so the only copy of a refresh token is here. */
  readonly #unsaved = new Map<string, Commit>();
  /** The store is known to be out of order; said once. */
  #isFailing = false;

  constructor(parts: CommitParts) {
    this.#parts = parts;
  }

  /** Tries for half a minute; after that the cache is kept in memory for the next lease. */
  async commit(session: SignedIn, expected: number, cache: TokenCache): Promise<CommitResult> {
    const { records, clock, logger, events } = this.#parts;
    const sealed = records.seal(session, expected, cache, clock.now());
    const giveUpAt = clock.now() + RETRY_SECONDS;
    for (let delayMs = RETRY_MS.first; ; delayMs = Math.min(2 * delayMs, RETRY_MS.most)) {
      try {
        // A commit that was reported as failed may have arrived: the same one again is committed.
        const result = await records.commit(session.handle, sealed);
        this.#isFailing = false;
        return result;
      } catch (error) {
        if (clock.now() >= giveUpAt) {
          this.#keep(session.handle.ref, sealed);
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

  /**
   * Commits what a grant brought, as a change of the cache that it was made from. A login that stored its tokens
   * meanwhile made a newer record: where that still holds the refresh token that was spent, the change is made to it,
   * or the one that came for it would be lost.
   */
  async change(
    { session, spent, ...base }: GrantBase,
    change: (cache: TokenCache) => TokenCache,
  ): Promise<{ result: CommitResult; cache: TokenCache; version: number }> {
    for (let { cache, version } = base, tries = 1; ; tries += 1) {
      const changed = change(cache);
      const result = await this.commit(session, version, changed);
      const newer =
        result === 'newer' && tries < CHANGE_TRIES
          ? await this.#parts.records.load(session.handle)
          : undefined;
      if (newer?.cache === undefined || !holds(newer.cache, spent))
        return { result, cache: changed, version: version + 1 };
      ({ cache, version } = { cache: newer.cache, version: newer.version });
    }
  }

  /** Stores first what could not be stored before; the record as it is then. */
  async saveUnsaved(session: SignedIn, record: OpenRecord): Promise<OpenRecord> {
    const { ref } = session.handle;
    const unsaved = this.#unsaved.get(ref);
    if (unsaved === undefined) return record;
    if (record.version === unsaved.expected && record.state !== 'tombstone') {
      await this.#parts.records.commit(session.handle, unsaved);
    }
    this.#unsaved.delete(ref);
    return this.#parts.records.load(session.handle);
  }

  #keep(ref: string, unsaved: Commit): void {
    this.#unsaved.set(ref, unsaved);
    const oldest = this.#unsaved.size > MAX_UNSAVED ? this.#unsaved.keys().next().value : undefined;
    if (oldest !== undefined) this.#unsaved.delete(oldest);
  }
}

function holds(cache: TokenCache, { token }: RefreshToken): boolean {
  return cache.refreshTokens.some((entry) => entry.token === token);
}
