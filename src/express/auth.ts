import { randomBytes, scryptSync } from 'node:crypto';
import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { Cipher, Clock } from '../core/ports.ts';
import { publicPath } from '../core/return-to.ts';
import { Provider } from '../protocol/provider.ts';
import { AccessTokenMemory } from '../storage/access-token-memory.ts';
import { KeyRingCipher, PlainCipher } from '../storage/encryption.ts';
import { bindStore } from '../storage/store-binding.ts';
import { CodeAcquisition } from '../tokens/acquire-by-code.ts';
import { SilentAcquisition, type TokenResult } from '../tokens/acquire-silent.ts';
import { Breaker } from '../tokens/breaker.ts';
import { CacheRecords } from '../tokens/cache-records.ts';
import { ProviderPatience } from '../tokens/provider-patience.ts';
import { Refresher } from '../tokens/refresh.ts';
import type { Context, Shared } from './context.ts';
import { diagnosticEvents } from './diagnostics.ts';
import type { AuthOptions } from './options.ts';
import { redemptionsOf } from './redemptions.ts';
import { rememberContext } from './request-context.ts';
import { makeGetToken, makeGetTokenSilent, RequestOidc, ResponseOidc } from './request-surface.ts';
import { callbackRoute } from './routes/callback.ts';
import { loginRoute } from './routes/login.ts';
import { logoutRoute } from './routes/logout.ts';
import { dropHandle, getHandle, HANDLE_FIELD } from './session.ts';
import { sessionProblem, warnAboutSession, watchConnection } from './session-checks.ts';
import { parseOptions, type Settings } from './settings.ts';

/** The middleware, and what the app calls on it. */
export interface AuthHandle extends RequestHandler {
  /**
   * Ends silent acquisition before the process ends: no new grants, those in flight are committed first, for ten
   * seconds at most. For the app's own SIGTERM handler.
   */
  close(): Promise<void>;
}

const MAX_CACHE_BYTES = 512 * 1024;

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
  const cipher = makeCipher(settings);
  const shared: Shared = {
    settings,
    clock,
    provider: new Provider(settings, clock, settings.logger),
    cipher,
    urlCipher: makeUrlCipher(settings, cipher),
    memory: new AccessTokenMemory<TokenResult>(clock),
    breaker: new Breaker(clock, diagnosticEvents),
    normalized: new Map(),
  };
  const contexts = new Map<Request['sessionStore'], Context>();
  const connections: (() => boolean)[] = [];
  const isStoreDown = () => connections.some((isDown) => isDown());

  function auth(req: Request, res: Response, next: NextFunction): void {
    const problem = sessionProblem(req, isStoreDown);
    if (problem !== undefined) {
      next(problem);
      return;
    }
    let context = contexts.get(req.sessionStore);
    if (context === undefined) {
      if (contexts.size === 0) warnAboutSession(req, settings.isProduction, settings.logger);
      context = makeContext(shared, req.sessionStore);
      contexts.set(req.sessionStore, context);
      connections.push(watchConnection(req.sessionStore));
    }
    prepare(context, req, res);
    const route = routeOf(settings, req);
    if (route === undefined) next();
    else route(context, req, res, next).catch(next);
  }

  const close = async (): Promise<void> => {
    await Promise.all([...contexts.values()].map((context) => context.silent.close()));
  };
  return Object.assign(auth, { close });
}

function makeCipher({ encryptionKeys, logger }: Settings): Cipher {
  if (encryptionKeys === undefined) return new PlainCipher();
  if (encryptionKeys.length > 0) return new KeyRingCipher(encryptionKeys);
  logger.warn(
    'No OIDC_ENCRYPTION_KEYS: tokens are encrypted with a key of this process, so users sign in again after a restart. Make a key with ' +
      `node -e "console.log('k1:' + require('crypto').randomBytes(32).toString('base64'))"`,
  );
  return new KeyRingCipher([{ kid: 'process', key: randomBytes(32) }]);
}

/**
 * What travels in a URL must not be forged where tokens are stored unencrypted, either. All processes of the app
 * make the same key from the client secret, by a slow function: what it seals is there for everybody to guess at.
 */
function makeUrlCipher({ encryptionKeys, clientSecret }: Settings, cipher: Cipher): Cipher {
  if (encryptionKeys !== undefined) return cipher;
  const key = clientSecret === undefined ? randomBytes(32) : scryptSync(clientSecret, 'login request', 32);
  return new KeyRingCipher([{ kid: 'url', key }]);
}

function makeContext(shared: Shared, store: Request['sessionStore']): Context {
  const { settings, provider, clock, cipher, memory, breaker } = shared;
  const { logger } = settings;
  const writeMs = settings.storeWriteTimeoutMs;
  const binding = bindStore(store, {
    client: `${settings.issuer.href} ${settings.clientId}`,
    redis: settings.redis,
    storeDeadlines: { readMs: settings.storeReadTimeoutMs ?? 1000, writeMs },
    redisDeadlines: { readMs: settings.storeReadTimeoutMs ?? 400, writeMs },
    logger,
    events: diagnosticEvents,
    handleField: HANDLE_FIELD,
  });
  const limits = { maxTokens: settings.maxTokens, maxBytes: MAX_CACHE_BYTES };
  const records = new CacheRecords(binding.tokens, cipher, limits, diagnosticEvents);
  const patience = new ProviderPatience(clock, settings.maxRetryAfterMs, binding.patience);
  const parts = {
    provider,
    records,
    patience,
    breaker,
    clock,
    logger,
    events: diagnosticEvents,
    random: Math.random,
    settings,
  };
  const refresher = new Refresher(parts);
  return {
    ...shared,
    binding,
    records,
    silent: new SilentAcquisition({
      refresher,
      records,
      memory,
      clock,
      logger,
      events: diagnosticEvents,
      settings,
    }),
    byCode: new CodeAcquisition(parts),
    redemptions: redemptionsOf(store),
  };
}

function prepare(context: Context, req: Request, res: Response): void {
  const handle = getHandle(req);
  const { guard } = context.binding;
  if (handle !== undefined && guard.hasEnded(handle.ref)) dropHandle(req);
  // A new session's id comes from here; one that came with the request names a session that was loaded.
  if (handle !== undefined && req.headers.cookie?.includes(req.sessionID)) guard.cameFromStore(req.session);
  rememberContext(req, context);
  req.oidc = new RequestOidc(context, req);
  res.oidc = new ResponseOidc(context, req, res);
  req.getToken = makeGetToken(context, req, res);
  req.getTokenSilent = makeGetTokenSilent(context, req);
}

type Route = (context: Context, req: Request, res: Response, next: NextFunction) => Promise<void>;

/** Routes match relative to the mount, and by the public path where nothing in front strips the base URL's path. */
function routeOf({ routes, baseUrl }: Settings, req: Request): Route | undefined {
  const matches = (route: string | false) =>
    route !== false && (req.path === route || req.baseUrl + req.path === publicPath(route, baseUrl));
  if (matches(routes.login) && (req.method === 'GET' || req.method === 'HEAD')) return loginRoute;
  if (matches(routes.callback) && (req.method === 'GET' || req.method === 'POST')) return callbackRoute;
  if (matches(routes.logout) && (req.method === 'GET' || req.method === 'POST')) return logoutRoute;
  return undefined;
}
