import type { Clock, CommitResult, Events, Logger } from '../core/ports.ts';
import type { SignedIn } from '../core/session-handle.ts';
import type { TokenCache } from '../core/token-cache.ts';
import type { CacheRecords, OpenRecord } from './cache-records.ts';
import { pause } from './flights.ts';

interface CommitParts {
  readonly records: CacheRecords;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: Events;
}

const RETRY_SECONDS = 30;
const RETRY_MS = { first: 100, most: 2000 };
const MAX_UNSAVED = 1000;

/** A cache that could not be stored: the provider has rotated, so the only copy of the refresh token is here. */
interface Unsaved {
  readonly expected: number;
  readonly cache: TokenCache;
}

/** Commits that do not give up at the first fault of the store: of a refresh token there is no second copy. */
export class PatientCommits {
  readonly #parts: CommitParts;
  readonly #unsaved = new Map<string, Unsaved>();

  constructor(parts: CommitParts) {
    this.#parts = parts;
  }

  /** Tries for half a minute; after that the cache is kept in memory for the next lease. */
  async commit(session: SignedIn, expected: number, cache: TokenCache): Promise<CommitResult> {
    const { records, clock, logger, events } = this.#parts;
    const giveUpAt = clock.now() + RETRY_SECONDS;
    for (let delayMs = RETRY_MS.first; ; delayMs = Math.min(2 * delayMs, RETRY_MS.most)) {
      try {
        return await records.commit(session, expected, cache, clock.now());
      } catch (error) {
        if (clock.now() >= giveUpAt) {
          this.#keep(session.handle.ref, { expected, cache });
          logger.error(
            'A refreshed token could not be stored; this process keeps it until the store accepts it',
          );
          throw error;
        }
        events.commitRetried({});
        await pause(delayMs);
      }
    }
  }

  /** Stores first what could not be stored before; the record as it is then. */
  async saveUnsaved(session: SignedIn, record: OpenRecord): Promise<OpenRecord> {
    const { ref } = session.handle;
    const unsaved = this.#unsaved.get(ref);
    if (unsaved === undefined) return record;
    if (record.version === unsaved.expected && record.state !== 'tombstone') {
      await this.#parts.records.commit(session, unsaved.expected, unsaved.cache, this.#parts.clock.now());
    }
    this.#unsaved.delete(ref);
    return this.#parts.records.load(session.handle);
  }

  #keep(ref: string, unsaved: Unsaved): void {
    this.#unsaved.set(ref, unsaved);
    const oldest = this.#unsaved.size > MAX_UNSAVED ? this.#unsaved.keys().next().value : undefined;
    if (oldest !== undefined) this.#unsaved.delete(oldest);
  }
}
