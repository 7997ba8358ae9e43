import type { SessionData, Store } from 'express-session';
import { LRUCache } from 'lru-cache';
import type { Logger, TokenStore } from '../core/ports.ts';
import { readHandle } from '../core/session-handle.ts';
import { RECORD_PREFIX } from './record-ids.ts';
import { isMissing } from './store-call.ts';

const MAX_REMEMBERED = 10_000;
const REMEMBER_MS = 15 * 60 * 1000;

type Done = (error?: unknown) => void;

/**
 * Saves a session that came out of the store, unless it is gone from there: true when it was saved, false when it is
 * gone, `unsaved` when it is there and the store's own `set` is to save it.
 */
export type UpdateSession = (
  id: string,
  session: SessionData,
  done: (error: unknown, exists: boolean | 'unsaved') => void,
) => void;

export interface GuardParts {
  readonly store: Store;
  readonly tokens: TokenStore;
  readonly logger: Logger;
  readonly handleField: string;
  readonly updateSession: UpdateSession;
}

/**
 * Keeps ended sessions ended.
 *
 * express-session writes back the whole record that a request loaded: a slow request that saves after the logout
 * would bring the session back to life. So the store's `destroy` takes the token cache with it, and its `set` does
 * not create again what was destroyed.
 */
export class SessionGuard {
  readonly #store: Store;
  readonly #endedRefs = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: REMEMBER_MS });
  readonly #endedIds = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: REMEMBER_MS });
  readonly #regenerating = new Set<string>();
  /** Sessions that came out of the store: a save must find them there still. */
  readonly #loaded = new WeakSet<object>();

  constructor({ store, tokens, logger, handleField, updateSession }: GuardParts) {
    const { get, set, destroy, touch, regenerate, createSession } = store;
    this.#store = store;

    store.createSession = (request, data) => {
      const session = createSession.call(store, request, data);
      this.#loaded.add(session);
      return session;
    };

    store.regenerate = (request, done) => {
      const id = request.sessionID;
      this.#regenerating.add(id);
      regenerate.call(store, request, (error: unknown) => {
        this.#regenerating.delete(id);
        done(error);
      });
    };

    store.destroy = (id, done) => {
      // Records of ours, which no session handle names.
      if (id.startsWith(RECORD_PREFIX)) return destroy.call(store, id, done);
      this.#endedIds.set(id, true);
      const finish = () =>
        destroy.call(store, id, (error: unknown) => {
          // It is still there, and its user goes on with it.
          if (error && !isMissing(error)) this.#endedIds.delete(id);
          done?.(error);
        });
      // Who keeps the handle through a new session id keeps the cache; who drops it leaves a record nobody can read.
      if (this.#regenerating.has(id)) return finish();
      get.call(store, id, (_error: unknown, session) => {
        const handle = readHandle((session as Record<string, unknown> | null | undefined)?.[handleField]);
        if (handle === undefined) return finish();
        this.end(handle.ref);
        tokens
          .remove(handle.ref)
          .catch((error: Error) =>
            logger.warn('The token cache of a destroyed session could not be removed', { error: error.name }),
          )
          .finally(finish);
      });
    };

    const refuse = (done: Done | undefined): unknown => {
      logger.debug('A session that was ended meanwhile is not saved again');
      return done?.();
    };

    const write = (id: string, start: (done: Done) => unknown, done: Done | undefined): unknown => {
      if (this.#endedIds.has(id)) return refuse(done);
      return start((error) => {
        // It ended while this was under way, which may have brought it back.
        if (this.#endedIds.has(id)) destroy.call(store, id, () => done?.(error));
        else done?.(error);
      });
    };

    const handleOf = (session: SessionData) =>
      readHandle((session as SessionData & Record<string, unknown>)[handleField]);

    /** Whatever new id it was put under. */
    const withoutEnded = (session: SessionData): SessionData => {
      const handle = handleOf(session);
      if (handle === undefined || !this.hasEnded(handle.ref)) return session;
      const { [handleField]: _ended, ...rest } = session as SessionData & Record<string, unknown>;
      return rest as unknown as SessionData;
    };

    /** Another process may have ended it. */
    const update = (id: string, session: SessionData, written: Done): void => {
      updateSession(id, session, (error, exists) => {
        if (error) written(error);
        else if (exists === 'unsaved') set.call(store, id, session, written);
        else if (exists) written();
        else refuse(written);
      });
    };

    store.set = (id: string, session: SessionData, done?: Done) => {
      const isOurs = handleOf(session) !== undefined && this.#loaded.has(session);
      const save = isOurs ? update : set.bind(store);
      return write(id, (written) => save(id, withoutEnded(session), written), done);
    };

    if (touch) {
      store.touch = (id: string, session: SessionData, done?: Done) =>
        write(id, (written) => touch.call(store, id, withoutEnded(session), written), done);
    }
  }

  /** Destroys a session whose sign-in goes on under another id: its token cache stays. */
  leave(id: string, done: Done): void {
    this.#regenerating.add(id);
    this.#store.destroy(id, (error: unknown) => {
      this.#regenerating.delete(id);
      done(error);
    });
  }

  /** For a session that express-session loaded before this guard was there: those of a process's first requests. */
  cameFromStore(session: object): void {
    this.#loaded.add(session);
  }

  /** Marks a token cache as ended, whatever session still names it. */
  end(ref: string): void {
    this.#endedRefs.set(ref, true);
  }

  hasEnded(ref: string): boolean {
    return this.#endedRefs.has(ref);
  }
}
