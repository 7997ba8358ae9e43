import type { Request } from 'express';
import type { Store } from 'express-session';
import { ConfigurationError, StoreUnavailableError } from '../core/errors.ts';
import { isRedisClient } from '../storage/redis-commands.ts';
import type { Settings } from './settings.ts';

/** Whether a store said that it is disconnected: express-session then passes requests on without a session. */
export function watchConnection(store: Store): () => boolean {
  let isDown = false;
  store.on('disconnect', () => {
    isDown = true;
  });
  store.on('connect', () => {
    isDown = false;
  });
  return () => isDown;
}

/** What only a request can show: whether there is a session to keep the sign-in in. Said in words that fix it. */
export function sessionProblem(req: Request, isStoreDown: () => boolean): Error | undefined {
  if (req.session && req.sessionStore) return undefined;
  if (req.session) {
    return new ConfigurationError(
      'req.session is kept in a cookie. Tokens do not fit there and would be sent with every request: use express-session with a store.',
    );
  }
  if (isStoreDown())
    return new StoreUnavailableError(
      'express-session has no session for this request: its store is disconnected.',
    );
  return new ConfigurationError(
    'There is no req.session: mount express-session before auth(), as in app.use(session({ … })); app.use(auth()).',
  );
}

/** Says once what works, and will not work as people expect. */
export function warnAboutSession(req: Request, { isProduction, redis, logger }: Settings): void {
  const { cookie } = req.session;
  if (isProduction && req.sessionStore.constructor.name === 'MemoryStore') {
    logger.warn(
      'Sessions are kept in the memory of this process (MemoryStore): users are signed out at every restart. Use a shared store in production.',
    );
  }
  if (cookie.sameSite === 'strict' || cookie.sameSite === true) {
    logger.warn(
      "The session cookie is sameSite 'strict': browsers do not send it on the way back from the provider, so logins fail. Use 'lax'.",
    );
  }
  if (cookie.secure === true && !req.secure) {
    logger.warn(
      "The session cookie is secure, and Express sees this request as insecure, so it is not set. Behind a proxy: app.set('trust proxy', 1).",
    );
  }
  const redisProblem = redisClientProblem(req.sessionStore);
  if (redisProblem !== undefined) {
    logger.warn(
      `The Redis client of the session store ${redisProblem}. Use createClient({ pingInterval: 200, commandOptions: { timeout: 500 }, ` +
        'socket: { socketTimeout: 500, reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 1000) } }).',
    );
  }
  if (redis === undefined && hidesRedis(req.sessionStore)) {
    logger.warn(
      'This version of connect-redis does not show its client, so refreshes are kept apart by a timed lock, which is slower. ' +
        'Use connect-redis 9, or pass the client: tokenStore: redisTokenStore({ client }).',
    );
  }
  if (isExpress4(req)) {
    logger.warn(
      'Express 4 does not forward rejected async handlers, which ends the process. Wrap them: requiresAuth(handler), requiresToken(request, handler).',
    );
  }
}

/** Before version 9 it has a wrapper of its own around the client that it was given. */
function hidesRedis(store: Store): boolean {
  return store.constructor.name === 'RedisStore' && !isRedisClient((store as { client?: unknown }).client);
}

interface NodeRedisOptions {
  readonly pingInterval?: number;
  readonly socket?: { readonly socketTimeout?: number; readonly reconnectStrategy?: unknown };
}

/**
 * node-redis shows its options; express-session waits for the store before anything of ours runs.
 *
 * `socketTimeout` counts idle time too, and by default the client does not come back after it
 * (https://github.com/redis/node-redis/pull/2965).
 */
function redisClientProblem(store: object): string | undefined {
  const { client } = store as { client?: { options?: NodeRedisOptions } };
  if (client?.options === undefined || !('sendCommand' in client)) return undefined;
  const { pingInterval, socket: { socketTimeout, reconnectStrategy } = {} } = client.options;
  if (socketTimeout === undefined)
    return 'has no socketTimeout: while Redis hangs, every request hangs with it';
  if (reconnectStrategy === undefined)
    return `ends for good after ${socketTimeout} ms without a command: it has a socketTimeout and no reconnectStrategy`;
  if (pingInterval === undefined || pingInterval >= socketTimeout)
    return `connects anew whenever it had no command for ${socketTimeout} ms: its pingInterval is not below its socketTimeout`;
  return undefined;
}

function isExpress4(req: Request): boolean {
  return typeof (req.app as { lazyrouter?: unknown } | undefined)?.lazyrouter === 'function';
}
