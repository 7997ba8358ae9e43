import { createHash } from 'node:crypto';
import type { Request } from 'express';
import type { SessionData, Store } from 'express-session';
import { isRecord } from '../core/cache-codec.ts';
import { readHandle, type SessionHandle } from '../core/session-handle.ts';
import type { LoopCount } from '../core/transaction.ts';
import { isMissing, storeCall } from '../storage/store-call.ts';

/** Where the session keeps what it holds of a sign-in. */
export const HANDLE_FIELD = 'oidc';

/** Where it keeps what belongs to logins under way. */
const LOGIN_FIELD = 'oidcLogin';

const DAY_MS = 24 * 60 * 60 * 1000;

/** What the session holds of pending logins; everything else of them lies in records of their own. */
export interface LoginState {
  /** Binds pending logins to this browser, through every change of the session id. */
  readonly browser: string;
  readonly states: readonly string[];
  readonly loops: readonly LoopCount[];
}

type SessionFields = Record<string, unknown>;

function fields(req: Request): SessionFields {
  return req.session as unknown as SessionFields;
}

export function getHandle(req: Request): SessionHandle | undefined {
  return req.session ? readHandle(fields(req)[HANDLE_FIELD]) : undefined;
}

export function setHandle(req: Request, handle: SessionHandle): void {
  fields(req)[HANDLE_FIELD] = handle;
}

export function dropHandle(req: Request): void {
  delete fields(req)[HANDLE_FIELD];
}

export function getLoginState(req: Request): LoginState | undefined {
  const value = req.session ? fields(req)[LOGIN_FIELD] : undefined;
  if (!isRecord(value) || typeof value.browser !== 'string') return undefined;
  return {
    browser: value.browser,
    states: Array.isArray(value.states) ? value.states.filter((state) => typeof state === 'string') : [],
    loops: Array.isArray(value.loops) ? (value.loops.filter(isRecord) as unknown as LoopCount[]) : [],
  };
}

/**
 * The login state, made when there is none.
 *
 * The browser value is derived from the session id, so that requests of one browser that start logins at the same
 * moment agree on it, whichever saves the session last.
 */
export function loginState(req: Request): LoginState {
  const browser = createHash('sha256').update(`browser ${req.sessionID}`).digest('base64url');
  return getLoginState(req) ?? { browser, states: [], loops: [] };
}

export function setLoginState(req: Request, state: LoginState): void {
  fields(req)[LOGIN_FIELD] = state;
}

/** How long the session lives from its last use. */
export function sessionLengthMs(req: Request): number {
  return sessionLengthOf(req.session, req.sessionStore);
}

/** Longer than any browser keeps a cookie, and twice that is still a date. */
const MAX_LENGTH_MS = 36_500 * DAY_MS;

/** The cookie's length, else what the store keeps records for, else a day; in whole milliseconds, as Redis takes them. */
export function sessionLengthOf(session: unknown, store: Store): number {
  return Math.min(Math.ceil(givenLengthOf(session, store)), MAX_LENGTH_MS);
}

function givenLengthOf(session: unknown, store: Store): number {
  const { cookie } = session as { cookie?: { originalMaxAge?: unknown } };
  const stored = (store as { ttl?: unknown }).ttl;
  // Where connect-redis has a function it counts more than the cookie.
  const ttl: unknown = typeof stored === 'function' ? stored(session) : stored;
  const length = cookie?.originalMaxAge;
  if (typeof stored !== 'function' && typeof length === 'number' && length > 0) return length;
  return typeof ttl === 'number' && ttl > 0 ? ttl * 1000 : DAY_MS;
}

/** @throws {StoreUnavailableError} when the store fails or takes longer than the deadline. */
export function saveSession(req: Request, deadlineMs: number): Promise<void> {
  return storeCall('save the session', deadlineMs, (done) => req.session.save(done));
}

export function destroySession(req: Request, deadlineMs: number): Promise<void> {
  return storeCall('destroy the session', deadlineMs, (done) => req.session.destroy(done));
}

/** A new session id; what the session held stays behind, in the store too, until the new one is saved. */
export function renewSession(req: Request): void {
  req.sessionStore.generate(req);
}

/** The app's own data in the session. */
export function ownData(req: Request): SessionFields {
  const { cookie: _cookie, [HANDLE_FIELD]: _handle, [LOGIN_FIELD]: _login, ...data } = { ...fields(req) };
  return data;
}

export function putData(req: Request, data: SessionFields): void {
  Object.assign(fields(req), data);
}

/** Lets this request answer with the session of another request of the same browser. */
export async function adoptSession(req: Request, sessionId: string, deadlineMs: number): Promise<boolean> {
  const store: Store = req.sessionStore;
  const found = await readSession(store, sessionId, deadlineMs);
  if (found === undefined) return false;
  req.sessionID = sessionId;
  store.createSession(req, found as unknown as SessionData);
  leaveSaved(req);
  return true;
}

/**
 * The session is saved, and the response leaves next. express-session would save a session with a new id once more
 * while the browser follows the redirect, and so overwrite what the next request writes.
 */
export function leaveSaved(req: Request): void {
  Object.defineProperty(req.session, 'save', {
    configurable: true,
    writable: true,
    value(done?: () => void) {
      done?.();
      return this;
    },
  });
}

/** A session that this request did not bring; undefined: there is none. */
export function readSession(
  store: Store,
  sessionId: string,
  deadlineMs: number,
): Promise<SessionFields | undefined> {
  return storeCall<SessionFields | undefined>('read the session', deadlineMs, (done) => {
    store.get(sessionId, (error: unknown, session) => {
      done(isMissing(error) ? undefined : error, (session ?? undefined) as SessionFields | undefined);
    });
  });
}
