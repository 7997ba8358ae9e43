import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { IdTokenClaims } from '../../core/claims.ts';
import { InteractionRequiredError } from '../../core/errors.ts';
import { challengeNow } from '../challenge.ts';
import { contextOf } from '../request-context.ts';
import { checkHandler, type Guard, guardHandler } from './decorate.ts';

/** A request behind `requiresAuth`: there is a user. */
export type AuthenticatedRequest = Request & { readonly oidc: { readonly user: IdTokenClaims } };

export type AuthenticatedHandler = (req: AuthenticatedRequest, res: Response, next: NextFunction) => unknown;

/**
 * Lets only signed-in users through; others are sent to the provider and come back to the same URL.
 *
 * `requiresAuth()` is a middleware, `requiresAuth(handler)` wraps a handler.
 */
export function requiresAuth(handler?: AuthenticatedHandler): RequestHandler {
  checkHandler(handler, 'requiresAuth()');
  return guardHandler('requiresAuth', isSignedIn, handler);
}

/** The check that every guard begins with. */
export const isSignedIn: Guard = async (req, res) => {
  if (req.oidc?.isAuthenticated()) return true;
  const context = contextOf(req);
  await challengeNow(context, req, res, new InteractionRequiredError({ reason: 'signed_out', scopes: [] }));
  return false;
};
