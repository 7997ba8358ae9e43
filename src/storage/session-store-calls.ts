import type { SessionData, Store } from 'express-session';
import { StoreUnavailableError } from '../core/errors.ts';
import type { Events } from '../core/ports.ts';
import { startDeadline } from './deadline.ts';

export interface StoreDeadlines {
  /** For reading. */
  readonly readMs: number;
  /** For writing, which a login or a refreshed token waits for. */
  readonly writeMs: number;
}

/** A session record is JSON to every store; ours carries other fields than the app's. */
export type RecordFields = Record<string, unknown>;

/** The three calls every express-session store has, as promises with a deadline. */
export class SessionStoreCalls {
  readonly #store: Pick<Store, 'get' | 'set' | 'destroy'>;
  readonly #deadlines: StoreDeadlines;
  readonly #events: Events;

  constructor(store: Pick<Store, 'get' | 'set' | 'destroy'>, deadlines: StoreDeadlines, events: Events) {
    this.#store = store;
    this.#deadlines = deadlines;
    this.#events = events;
  }

  get(id: string): Promise<RecordFields | undefined> {
    return this.#call<RecordFields | undefined>(this.#deadlines.readMs, 'read', (done) => {
      this.#store.get(id, (error: unknown, record) => {
        // Some stores report a missing file as an error; express-session takes it as a missing session too.
        const isMissing = (error as { code?: unknown } | null)?.code === 'ENOENT';
        done(isMissing ? undefined : error, (record ?? undefined) as RecordFields | undefined);
      });
    });
  }

  /** Writes a record in the shape that stores expect of a session: with a cookie that says when it expires. */
  set(id: string, fields: RecordFields, ttlMs: number): Promise<void> {
    const cookie = {
      originalMaxAge: ttlMs,
      maxAge: ttlMs,
      expires: new Date(Date.now() + ttlMs),
      httpOnly: true,
      path: '/',
    };
    return this.#call<void>(this.#deadlines.writeMs, 'write', (done) => {
      this.#store.set(id, { ...fields, cookie } as unknown as SessionData, (error?: unknown) =>
        done(error, undefined),
      );
    });
  }

  destroy(id: string): Promise<void> {
    return this.#call<void>(this.#deadlines.writeMs, 'write', (done) => {
      this.#store.destroy(id, (error?: unknown) => done(error, undefined));
    });
  }

  #call<T>(
    deadlineMs: number,
    what: string,
    start: (done: (error: unknown, value: T) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = startDeadline(deadlineMs, () => {
        this.#events.storeTimedOut({});
        reject(new StoreUnavailableError(`The session store did not ${what} within ${deadlineMs} ms.`));
      });
      const done = (error: unknown, value: T) => {
        cancel();
        if (error) reject(new StoreUnavailableError(`The session store could not ${what} a record.`, error));
        else resolve(value);
      };
      try {
        start(done);
      } catch (error) {
        done(error ?? new Error('thrown without an error'), undefined as T);
      }
    });
  }
}

/**
 * How long a record that was read still lives; stores hand back `expires` as a date or as text, and one that hands
 * back none keeps the record for as long as it likes.
 */
export function remainingMs(record: RecordFields): number {
  const expires = (record.cookie as { expires?: unknown } | undefined)?.expires;
  const at =
    expires instanceof Date
      ? expires.getTime()
      : typeof expires === 'string'
        ? Date.parse(expires)
        : Number.NaN;
  return Number.isNaN(at) ? Number.POSITIVE_INFINITY : at - Date.now();
}
