import type { NextFunction, Request, Response } from 'express';
import type { IdTokenClaims } from '../../core/claims.ts';
import { InteractionRequiredError } from '../../core/errors.ts';
import type { TokenRequest } from '../../core/token-request.ts';
import type { TokenResult } from '../../tokens/acquire-silent.ts';
import { challengeNow } from '../challenge.ts';
import { contextOf } from '../request-context.ts';
import { checkHandler, guardHandler, type RouteGuard } from './decorate.ts';

/** A request behind `requiresToken`: there is a user, and a token. */
export type TokenRequestInHand = Request & {
  readonly token: TokenResult;
  readonly oidc: { readonly user: IdTokenClaims };
};

export type TokenHandler = (req: TokenRequestInHand, res: Response, next: NextFunction) => unknown;

/**
 * Puts an access token into `req.token` before the handler runs; where only the user can help, the answer is the
 * challenge. Takes what `req.getToken()` takes, and a handler to wrap.
 *
 * `requiresToken()` and `requiresToken(request)` are middlewares; with a handler as the last argument they wrap it.
 *
 * @throws {TypeError} at the first request, for scopes or a request object that `req.getToken()` does not take.
 */
export function requiresToken(handler?: TokenHandler): RouteGuard;
export function requiresToken(
  request?: string | readonly string[] | TokenRequest,
  handler?: TokenHandler,
): RouteGuard;
export function requiresToken(
  first?: string | readonly string[] | TokenRequest | TokenHandler,
  second?: TokenHandler,
): RouteGuard {
  const [request, handler] = typeof first === 'function' ? [undefined, first] : [first, second];
  checkHandler(handler, 'requiresToken()');
  return guardHandler(
    'requiresToken',
    async (req, res) => {
      const context = contextOf(req);
      try {
        req.token = await req.getTokenSilent(request);
        return true;
      } catch (error) {
        if (!(error instanceof InteractionRequiredError)) throw error;
        await challengeNow(context, req, res, error);
        return false;
      }
    },
    handler,
  );
}
