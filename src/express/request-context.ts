import type { Request } from 'express';
import { ConfigurationError } from '../core/errors.ts';
import type { Context } from './context.ts';

const contexts = new WeakMap<Request, Context>();

export function rememberContext(req: Request, context: Context): void {
  contexts.set(req, context);
}

/** @throws {ConfigurationError} when `auth()` did not see this request. */
export function contextOf(req: Request): Context {
  const context = contexts.get(req);
  if (context === undefined)
    throw new ConfigurationError(
      'auth() did not see this request: mount it before the routes, as in app.use(auth()).',
    );
  return context;
}
