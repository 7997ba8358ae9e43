import type { SessionData, Store } from 'express-session';
import { LRUCache } from 'lru-cache';
import type { Logger, TokenStore } from '../core/ports.ts';
import { readHandle } from '../core/session-handle.ts';
import { RECORD_PREFIX } from './session-store-calls.ts';

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
  readonly #endedRefs = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: REMEMBER_MS });
  readonly #endedIds = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: REMEMBER_MS });
  readonly #regenerating = new Set<string>();
  /** Sessions that came out of the store: a save must find them there still. */
  readonly #loaded = new WeakSet<object>();

  constructor({ store, tokens, logger, handleField, updateSession }: GuardParts) {
    const { get, set, destroy, regenerate, createSession } = store;

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
      const finish = () => destroy.call(store, id, done);
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

    store.set = (id: string, session: SessionData, done?: Done) => {
      const refuse = () => {
        logger.debug('A session that was ended meanwhile is not saved again');
        done?.();
      };
      if (this.#endedIds.has(id)) return refuse();
      const isSignedIn =
        readHandle((session as unknown as Record<string, unknown>)[handleField]) !== undefined;
      if (!isSignedIn || !this.#loaded.has(session)) return set.call(store, id, session, done);
      updateSession(id, session, (error, exists) => {
        if (error) done?.(error);
        else if (exists === 'unsaved') set.call(store, id, session, done);
        else if (exists) done?.();
        else refuse();
      });
    };
  }

  /** Marks a token cache as ended, whatever session still names it. */
  end(ref: string): void {
    this.#endedRefs.set(ref, true);
  }

  hasEnded(ref: string): boolean {
    return this.#endedRefs.has(ref);
  }
}
