import type { SessionData, Store } from 'express-session';
import type { Events } from '../core/ports.ts';
import { isMissing, storeCall } from './store-call.ts';

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
    return this.#call<RecordFields | undefined>('read a record', this.#deadlines.readMs, (done) => {
      this.#store.get(id, (error: unknown, record) => {
        done(isMissing(error) ? undefined : error, (record ?? undefined) as RecordFields | undefined);
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
    return this.#call('write a record', this.#deadlines.writeMs, (done) => {
      this.#store.set(id, { ...fields, cookie } as unknown as SessionData, (error?: unknown) => done(error));
    });
  }

  destroy(id: string): Promise<void> {
    return this.#call('write a record', this.#deadlines.writeMs, (done) => {
      this.#store.destroy(id, (error?: unknown) => done(error));
    });
  }

  #call<T = void>(...[what, deadlineMs, start]: Parameters<typeof storeCall<T>>): Promise<T> {
    return storeCall(what, deadlineMs, start, () => this.#events.storeTimedOut({}));
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
