import type { Request } from 'express';
import { claimHolds, claimIs, type IdTokenClaims } from '../../core/claims.ts';
import { ClaimMismatchError } from '../../core/errors.ts';
import { checkHandler, guardHandler, type RouteGuard } from './decorate.ts';
import { type AuthenticatedHandler, isSignedIn } from './requires-auth.ts';

type ClaimValue = string | number | boolean | null;

/**
 * Lets users through whose ID-token claim `name` equals `value`. Not signed in: a challenge. Signed in without it:
 * `ClaimMismatchError` 403, since another login would bring the same claims.
 */
export function claimEquals(name: string, value: ClaimValue, handler?: AuthenticatedHandler): RouteGuard {
  checkName(name, 'claimEquals');
  if (value !== null && !isSingle(value))
    throw new TypeError('claimEquals() takes a string, a number, true, false or null as the value');
  checkHandler(handler, 'claimEquals()');
  return claimGuard('claimEquals', (_req, claims) => claimIs(claims, name, value), handler, name);
}

/**
 * Lets users through whose claim `name`, an array or a string separated by spaces, holds all `values`. A function as
 * the last argument is the handler to wrap.
 */
export function claimIncludes(
  name: string,
  ...values:
    | readonly [...(string | number | boolean)[], AuthenticatedHandler]
    | readonly (string | number | boolean)[]
): RouteGuard {
  checkName(name, 'claimIncludes');
  const last = values.at(-1);
  const handler = typeof last === 'function' ? last : undefined;
  const wanted = values.filter((value) => typeof value !== 'function') as (string | number | boolean)[];
  if (wanted.length === 0 || !wanted.every(isSingle))
    throw new TypeError('claimIncludes() takes one or more strings, numbers or booleans, each an argument');
  return claimGuard('claimIncludes', (_req, claims) => claimHolds(claims, name, wanted), handler, name);
}

/** Lets users through for whom `check(req, claims)` is true. */
export function claimCheck(
  check: (req: Request, claims: IdTokenClaims) => boolean | Promise<boolean>,
  handler?: AuthenticatedHandler,
): RouteGuard {
  if (typeof check !== 'function')
    throw new TypeError('claimCheck() takes a function (req, claims) => boolean');
  checkHandler(handler, 'claimCheck()');
  return claimGuard('claimCheck', check, handler);
}

function claimGuard(
  name: string,
  check: (req: Request, claims: IdTokenClaims) => boolean | Promise<boolean>,
  handler: AuthenticatedHandler | undefined,
  claim?: string,
): RouteGuard {
  return guardHandler(
    name,
    async (req, res, next) => {
      if (!(await isSignedIn(req, res, next))) return false;
      const { user } = req.oidc;
      if (user !== undefined && (await check(req, user))) return true;
      throw new ClaimMismatchError(`The signed-in user may not do this: ${mismatch(claim, user)}.`);
    },
    handler,
  );
}

/** Which claim, since a misspelt name refuses everybody; never its value, which is the user's. */
function mismatch(claim: string | undefined, user: IdTokenClaims | undefined): string {
  if (claim === undefined) return 'the claims in req.oidc.user do not pass the check of this route';
  if (user !== undefined && Object.hasOwn(user, claim))
    return `the claim ${JSON.stringify(claim)} in req.oidc.user is not what this route asks for`;
  return `req.oidc.user has no claim ${JSON.stringify(claim)}`;
}

/** A guard that compares with anything else would refuse everybody. */
function isSingle(value: unknown): boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function checkName(name: unknown, guard: string): void {
  if (typeof name !== 'string' || name === '')
    throw new TypeError(`${guard}() takes the name of a claim first`);
}
