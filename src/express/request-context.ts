import type { Request } from 'express';
import { ConfigurationError } from '../core/errors.ts';
import type { Context, Shared } from './context.ts';

const contexts = new WeakMap<Request, Context>();
const shared = new WeakMap<Request, Shared>();

export function rememberContext(req: Request, context: Context): void {
  contexts.set(req, context);
  shared.set(req, context);
}

/** For a request of an API without sessions. */
export function rememberShared(req: Request, own: Shared): void {
  shared.set(req, own);
}

/** @throws {ConfigurationError} when `auth()` did not see this request, or keeps no sessions. */
export function contextOf(req: Request): Context {
  const context = contexts.get(req);
  if (context !== undefined) return context;
  sharedOf(req);
  throw new ConfigurationError(
    'This needs a session, and auth({ session: false }) keeps none: use requiresBearer() in a web API.',
  );
}

/** @throws {ConfigurationError} when `auth()` did not see this request. */
export function sharedOf(req: Request): Shared {
  const own = shared.get(req);
  if (own === undefined) {
    throw new ConfigurationError(
      'auth() did not see this request: mount it before the routes, as in app.use(auth()).',
    );
  }
  return own;
}
