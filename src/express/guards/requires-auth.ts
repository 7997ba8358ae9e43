import type { NextFunction, Request, Response } from 'express';
import { type IdTokenClaims, satisfiesStepUp } from '../../core/claims.ts';
import { InteractionRequiredError } from '../../core/errors.ts';
import { parseAcrValues, parseMaxAge } from '../../core/token-request.ts';
import { challengeNow } from '../challenge.ts';
import { knownFields } from '../option-values.ts';
import { contextOf } from '../request-context.ts';
import { checkHandler, type Guard, guardHandler, type RouteGuard } from './decorate.ts';

/** A request behind `requiresAuth`: there is a user. */
export type AuthenticatedRequest = Request & { readonly oidc: { readonly user: IdTokenClaims } };

export type AuthenticatedHandler = (req: AuthenticatedRequest, res: Response, next: NextFunction) => unknown;

/** What a route demands of the sign-in itself (RFC 9470). */
export interface StepUpOptions {
  /** It may be at most this many seconds old, give or take `clockTolerance`. */
  maxAge?: number | undefined;
  /** Authentication context classes, one of which it must have. */
  acr?: string | readonly string[] | undefined;
}

/**
 * Lets only signed-in users through; others are sent to the provider and come back to the same URL. With `maxAge` or
 * `acr` also those whose sign-in is not enough; where the provider does not deliver more, the answer is 403.
 *
 * `requiresAuth()` and `requiresAuth(options)` are middlewares; with a handler as the last argument they wrap it.
 *
 * @throws {TypeError} for options of the wrong kind.
 */
export function requiresAuth(handler?: AuthenticatedHandler): RouteGuard;
export function requiresAuth(options: StepUpOptions, handler?: AuthenticatedHandler): RouteGuard;
export function requiresAuth(
  first?: StepUpOptions | AuthenticatedHandler,
  second?: AuthenticatedHandler,
): RouteGuard {
  const [options, handler] = typeof first === 'function' ? [{}, first] : [first ?? {}, second];
  const stepUp = parseStepUp(options);
  checkHandler(handler, 'requiresAuth()');
  return guardHandler(
    'requiresAuth',
    async (req, res) => {
      const context = contextOf(req);
      const { clock, settings } = context;
      const user = req.oidc?.user;
      if (user !== undefined && satisfiesStepUp(user, stepUp, clock.now(), settings.clockTolerance))
        return true;
      const reason = user === undefined ? 'signed_out' : 'step_up';
      await challengeNow(context, req, res, new InteractionRequiredError({ reason, scopes: [], ...stepUp }));
      return false;
    },
    handler,
  );
}

function parseStepUp(options: StepUpOptions): { acrValues: string | undefined; maxAge: number | undefined } {
  knownFields(options, ['maxAge', 'acr'], 'requiresAuth()');
  return {
    acrValues: options.acr === undefined ? undefined : parseAcrValues(options.acr),
    maxAge: parseMaxAge(options.maxAge),
  };
}

/** Signed in, or a challenge. */
export const isSignedIn: Guard = async (req, res) => {
  if (req.oidc?.isAuthenticated()) return true;
  const context = contextOf(req);
  await challengeNow(context, req, res, new InteractionRequiredError({ reason: 'signed_out', scopes: [] }));
  return false;
};
