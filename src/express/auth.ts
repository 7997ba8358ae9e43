import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { Store } from 'express-session';
import type { Clock } from '../core/ports.ts';
import { publicPath } from '../core/return-to.ts';
import type { TokenRequestInput } from '../core/token-request.ts';
import { expiryOf } from '../protocol/access-token.ts';
import { makeContext, makeShared } from './composition.ts';
import { type Context, signedIn } from './context.ts';
import { forSession, noStore, type SessionTokens } from './for-session.ts';
import { makeFetchWithToken, makeGetToken, makeGetTokenSilent } from './get-token.ts';
import type { AuthOptions } from './options.ts';
import { rememberContext, rememberShared } from './request-context.ts';
import { RequestOidc } from './request-oidc.ts';
import { ResponseOidc } from './response-oidc.ts';
import { callbackRoute } from './routes/callback.ts';
import { loginRoute } from './routes/login.ts';
import { logoutRoute } from './routes/logout.ts';
import { backchannelLogoutRoute, frontchannelLogoutRoute } from './routes/provider-logout.ts';
import { replayOf } from './routes/replay.ts';
import { dropHandle, getHandle } from './session.ts';
import { sessionProblem, warnAboutSession, watchConnection } from './session-checks.ts';
import {
  type AppTokenResult,
  getAppToken,
  getTokenOnBehalfOf,
  makeGetTokenOnBehalfOf,
  type OnBehalfOfResult,
} from './sessionless-tokens.ts';
import { parseOptions, type Settings } from './settings.ts';

/** The middleware, and what the app calls on it. */
export interface AuthHandle extends RequestHandler {
  /**
   * A token of the app itself, by client credentials (RFC 6749 §4.4): from the app's own cache first, never from or
   * into a user's. Works outside requests too.
   *
   * @throws {ConfigurationError} when the provider issues none to this client.
   * @throws {ProviderUnavailableError} when it does not answer.
   */
  getAppToken(request?: TokenRequestInput): Promise<AppTokenResult>;
  /**
   * A token for another API, on behalf of the user of `accessToken`, which this API was called with and has validated.
   *
   * @throws {BearerTokenError} when the user is needed; its `WWW-Authenticate` tells the caller.
   */
  getTokenOnBehalfOf(accessToken: string, request?: TokenRequestInput): Promise<OnBehalfOfResult>;
  /** Silent acquisition for a session without a request. `store` is needed before the first request only. */
  forSession(sessionId: string, store?: Store): SessionTokens;
  /**
   * Ends silent acquisition before the process ends: no new grants, those in flight are committed first, for ten
   * seconds at most. For the app's own SIGTERM handler.
   */
  close(): Promise<void>;
}

/**
 * Sign-in with an OpenID Provider, and tokens for APIs.
 *
 * Mounts `/login`, `/callback` and `/logout`, and gives `req.oidc`, `res.oidc`, `req.getToken` and
 * `req.getTokenSilent`. express-session comes before it. The provider is discovered when it is first needed.
 *
 * @throws {TypeError} for an option of the wrong kind.
 * @throws {ConfigurationError} for one that is missing or contradicts another.
 */
export function auth(options?: AuthOptions): AuthHandle {
  const settings = parseOptions(options);
  const clock: Clock = { now: () => Date.now() / 1000 };
  const shared = makeShared(settings, clock);
  const contexts = new Map<Store, Context>();
  const contextFor = (store: Store): Context => {
    const known = contexts.get(store);
    if (known !== undefined) return known;
    const context = makeContext(shared, store);
    contexts.set(store, context);
    return context;
  };
  const firstContext = (): Context => contexts.values().next().value ?? noStore();
  const connections: (() => boolean)[] = [];
  const isStoreDown = () => connections.some((isDown) => isDown());

  function auth(req: Request, res: Response, next: NextFunction): void {
    if (!settings.hasSessions) {
      rememberShared(req, shared);
      req.getTokenOnBehalfOf = makeGetTokenOnBehalfOf(shared, req);
      next();
      return;
    }
    const problem = sessionProblem(req, isStoreDown);
    if (problem !== undefined) {
      next(problem);
      return;
    }
    if (contexts.size === 0) warnAboutSession(req, settings);
    if (!contexts.has(req.sessionStore)) connections.push(watchConnection(req.sessionStore));
    const context = contextFor(req.sessionStore);
    prepare(context, req, res);
    const route = routeOf(settings, req) ?? replayOf(settings, req);
    if (route === undefined) next();
    else route(context, req, res, next).catch(next);
  }

  const close = async (): Promise<void> => {
    const users = [...contexts.values()].map((context) => context.silent.close());
    await Promise.all([...users, shared.appTokens.close(), shared.onBehalfOf.close()]);
  };
  return Object.assign(auth, {
    close,
    getAppToken: (request?: TokenRequestInput) => getAppToken(shared, request),
    getTokenOnBehalfOf: (accessToken: string, request?: TokenRequestInput) =>
      getTokenOnBehalfOf(shared, { token: accessToken, expiresAt: expiryOf(accessToken) }, request),
    forSession: (sessionId: string, store?: Store) =>
      forSession(() => (store === undefined ? firstContext() : contextFor(store)), sessionId),
  });
}

function prepare(context: Context, req: Request, res: Response): void {
  const handle = getHandle(req);
  const { guard } = context.binding;
  if (handle !== undefined && guard.hasEnded(handle.ref)) dropHandle(req);
  // A new session's id comes from here; one that came with the request names a session that was loaded.
  if (handle !== undefined && req.headers.cookie?.includes(req.sessionID)) guard.cameFromStore(req.session);
  const session = context.registry && signedIn(context, req);
  if (session !== undefined) void context.registry?.keep(session);
  rememberContext(req, context);
  req.oidc = new RequestOidc(context, req);
  res.oidc = new ResponseOidc(context, req, res);
  req.getToken = makeGetToken(context, req, res);
  req.getTokenSilent = makeGetTokenSilent(context, req);
  req.fetchWithToken = makeFetchWithToken(context, req, res);
  req.getTokenOnBehalfOf = makeGetTokenOnBehalfOf(context, req);
}

type Route = (context: Context, req: Request, res: Response, next: NextFunction) => Promise<void>;

/** Routes match relative to the mount, and by the public path where nothing in front strips the base URL's path. */
function routeOf({ routes, baseUrl }: Settings, req: Request): Route | undefined {
  const matches = (route: string | false) =>
    route !== false && (req.path === route || req.baseUrl + req.path === publicPath(route, baseUrl));
  if (matches(routes.login) && (req.method === 'GET' || req.method === 'HEAD')) return loginRoute;
  if (matches(routes.callback) && (req.method === 'GET' || req.method === 'POST')) return callbackRoute;
  if (matches(routes.backchannelLogout) && req.method === 'POST') return backchannelLogoutRoute;
  if (matches(routes.frontchannelLogout) && req.method === 'GET') return frontchannelLogoutRoute;
  if (matches(routes.logout) && (req.method === 'GET' || req.method === 'POST')) return logoutRoute;
  return undefined;
}
