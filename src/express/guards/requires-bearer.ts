import type { NextFunction, Request, Response } from 'express';
import {
  type BearerDemands,
  type BearerRefusal,
  parseAuthorization,
  scopesOf,
} from '../../core/bearer-token.ts';
import { BearerTokenError } from '../../core/errors.ts';
import { parseScopes } from '../../core/scopes.ts';
import { parseAcrValues, parseMaxAge } from '../../core/token-request.ts';
import { formatChallenge } from '../../core/www-authenticate.ts';
import { ASYMMETRIC_ALGORITHMS } from '../../protocol/jwt.ts';
import type { BearerCall } from '../../tokens/validate-bearer.ts';
import { knownFields, parseUrl } from '../option-values.ts';
import { publicUrl } from '../public-url.ts';
import { sharedOf } from '../request-context.ts';
import type { Settings } from '../settings.ts';
import { checkHandler, guardHandler, type RouteGuard } from './decorate.ts';

/** What an API demands of the access token that it is called with. */
export interface BearerOptions {
  /** Who this API is: `aud` of the token must hold it, or one of these. */
  audience: string | readonly string[];
  /** Default: the issuer of `auth()`. */
  issuer?: string | undefined;
  /** Scopes that the token must have, all of them. */
  scopes?: string | readonly string[] | undefined;
  /** Claims that the token must have with exactly this value. */
  claims?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** Authentication context classes, one of which the sign-in must have (RFC 9470). */
  acrValues?: string | readonly string[] | undefined;
  /** The sign-in may be at most this many seconds old (RFC 9470). */
  maxAge?: number | undefined;
}

/** What `requiresBearer` puts into `req.bearer`. */
export interface Bearer {
  /** The access token, for `req.getTokenOnBehalfOf()`. */
  readonly token: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly scopes: readonly string[];
  readonly issuer: string;
  readonly subject: string | undefined;
  /** Epoch seconds. */
  readonly expiresAt: number;
}

export type BearerRequest = Request & { readonly bearer: Bearer };
export type BearerHandler = (req: BearerRequest, res: Response, next: NextFunction) => unknown;

/**
 * Guards a web API: validates the access token of the request (RFC 9068, or by introspection, RFC 7662) and puts it
 * into `req.bearer`. Refuses with 400, 401 or 403 and the `WWW-Authenticate` that says why (RFC 6750 §3).
 *
 * @throws {TypeError} for options of the wrong kind.
 */
export function requiresBearer(options: BearerOptions, handler?: BearerHandler): RouteGuard {
  const { issuer, demandsOf } = parseBearerOptions(options);
  checkHandler(handler, 'requiresBearer()');
  return guardHandler(
    'requiresBearer',
    async (req) => {
      const shared = sharedOf(req);
      const call = readCall(req, shared.settings);
      const demands = (own: string) => demandsOf(own, shared.settings.clockTolerance);
      const result = await shared.bearers.of(issuer).validate(call, demands);
      if ('refusal' in result) throw refusal(result.refusal, demandsOf('', 0), call.scheme);
      req.bearer = bearerOf(call.token, result.claims);
      return true;
    },
    handler,
  );
}

const CLAIM_TYPES: ReadonlySet<string> = new Set(['string', 'number', 'boolean']);

function parseBearerOptions(options: BearerOptions) {
  knownFields(options, ['audience', 'issuer', 'scopes', 'claims', 'acrValues', 'maxAge'], 'requiresBearer()');
  const audience = [options.audience].flat() as readonly unknown[];
  if (audience.length === 0 || audience.some((entry) => typeof entry !== 'string' || entry === '')) {
    throw new TypeError('requiresBearer() needs audience: the name under which the provider knows this API');
  }
  const scopes = options.scopes === undefined ? [] : parseScopes(options.scopes);
  const acrValues = options.acrValues === undefined ? undefined : parseAcrValues(options.acrValues);
  const maxAge = parseMaxAge(options.maxAge);
  const claims = options.claims ?? {};
  knownFields(claims, Object.keys(claims), 'claims of requiresBearer()');
  const wrong = Object.keys(claims).find((name) => !CLAIM_TYPES.has(typeof claims[name]));
  if (wrong !== undefined)
    throw new TypeError(`claims.${wrong} of requiresBearer() must be a string, a number or a boolean`);
  return {
    issuer: options.issuer === undefined ? undefined : parseUrl(options.issuer, 'issuer of requiresBearer()'),
    demandsOf: (issuer: string, clockTolerance: number): BearerDemands => ({
      issuer,
      audience: audience as readonly string[],
      scopes,
      claims,
      acrValues,
      maxAge,
      clockTolerance,
    }),
  };
}

/** The token comes in the header alone (RFC 6750 §2.1): in a body or a URL it ends in logs. */
function readCall(req: Request, { baseUrl, hasBaseUrl }: Settings): BearerCall {
  const credentials = hasSeveral(req) ? 'malformed' : parseAuthorization(req.headers.authorization);
  if (credentials === undefined) {
    throw new BearerTokenError('This API needs an access token: Authorization: Bearer <token>.', {
      status: 401,
      challenge: 'Bearer',
    });
  }
  if (credentials === 'malformed') {
    const description = 'The Authorization header is malformed';
    const challenge = formatChallenge('Bearer', { error: 'invalid_request', error_description: description });
    throw new BearerTokenError(`${description}.`, { status: 400, error: 'invalid_request', challenge });
  }
  const proof = req.headers.dpop;
  return {
    ...credentials,
    method: req.method,
    url: () => (hasBaseUrl ? publicUrl(req, baseUrl) : undefined),
    dpopProof: typeof proof === 'string' ? proof : undefined,
  };
}

/** Node keeps the first `Authorization` and drops the others, of which a proxy in front may have checked another. */
function hasSeveral({ headersDistinct }: Request): boolean {
  return (headersDistinct?.authorization?.length ?? 0) > 1;
}

function refusal(
  refused: BearerRefusal,
  demands: BearerDemands,
  scheme: BearerCall['scheme'],
): BearerTokenError {
  const isDpop = scheme === 'dpop' || refused.needsProof === true;
  const isScope = refused.error === 'insufficient_scope' && demands.scopes.length > 0;
  const isLevel = refused.error === 'insufficient_user_authentication';
  const challenge = formatChallenge(isDpop ? 'DPoP' : 'Bearer', {
    error: refused.error,
    // RFC 6750 §3 allows neither quotes nor backslashes in it, not even escaped.
    error_description: refused.description.replace(/["\\]/g, "'"),
    scope: isScope ? demands.scopes.join(' ') : undefined,
    acr_values: isLevel ? demands.acrValues : undefined,
    // RFC 9449 §7.1
    algs: isDpop ? ASYMMETRIC_ALGORITHMS.join(' ') : undefined,
    max_age: isLevel && demands.maxAge !== undefined ? String(demands.maxAge) : undefined,
  });
  return new BearerTokenError(`The access token is refused: ${refused.description}.`, {
    status: refused.status,
    error: refused.error,
    challenge,
  });
}

function bearerOf(token: string, claims: Readonly<Record<string, unknown>>): Bearer {
  return {
    token,
    claims,
    scopes: scopesOf(claims),
    issuer: String(claims.iss),
    subject: typeof claims.sub === 'string' ? claims.sub : undefined,
    expiresAt: Number(claims.exp),
  };
}
