import { isRecord } from './cache-codec.ts';
import { claimIs, satisfiesStepUp } from './claims.ts';
import { includesAll, type ScopeSet, scopeSet } from './scopes.ts';

/** What an API demands of an access token. */
export interface BearerDemands {
  readonly issuer: string;
  /** One of these must be in `aud`. */
  readonly audience: readonly string[];
  readonly scopes: ScopeSet;
  readonly claims: Readonly<Record<string, string | number | boolean>>;
  readonly acrValues: string | undefined;
  /** Seconds. */
  readonly maxAge: number | undefined;
  /** Seconds. */
  readonly clockTolerance: number;
}

/** Why a token is refused, in the words of RFC 6750 §3.1, RFC 9449 §7.1 and RFC 9470 §3. */
export interface BearerRefusal {
  readonly status: 400 | 401 | 403;
  readonly error:
    | 'invalid_request'
    | 'invalid_token'
    | 'invalid_dpop_proof'
    | 'insufficient_scope'
    | 'insufficient_user_authentication';
  readonly description: string;
  /** The token is bound to a key: only the scheme DPoP helps. */
  readonly needsProof?: true;
}

/** `typ` values under which access tokens come: RFC 9068 §2.1, and plain JWT, which many providers use. */
const ACCESS_TOKEN_TYPES: ReadonlySet<string> = new Set([
  'at+jwt',
  'application/at+jwt',
  'jwt',
  'application/jwt',
  '',
]);

/** Claims that only ID tokens have, and logout tokens: they are no access tokens, whatever their audience. */
const FOREIGN_CLAIMS = ['nonce', 'at_hash', 'c_hash', 's_hash', 'events'];

/**
 * Where providers say what a token is for: Keycloak, Ory Hydra and Amazon Cognito, Hydra before that. An introspection
 * is about refresh tokens too (RFC 7662 §2.1), which are active for longer.
 */
const USE_CLAIMS = ['typ', 'token_use', 'token_type'];

/** Whether the header of a JWT says that it may be an access token. */
export function isAccessTokenType(typ: unknown): boolean {
  return typ === undefined || (typeof typ === 'string' && ACCESS_TOKEN_TYPES.has(typ.toLowerCase()));
}

/** The claims of a verified JWT or of an introspection, held against the demands. `now` is in epoch seconds. */
export function refuseClaims(
  claims: Readonly<Record<string, unknown>>,
  demands: BearerDemands,
  now: number,
): BearerRefusal | undefined {
  return refuseIdentity(claims, demands, now) ?? refuseAuthorization(claims, demands, now);
}

/** Whether it is a token of another kind. */
function isForeign(claims: Readonly<Record<string, unknown>>): boolean {
  if (USE_CLAIMS.some((name) => /^(id|refresh|offline|logout)(_token)?$/i.test(String(claims[name]))))
    return true;
  // Up to version 24 Keycloak's access tokens have the nonce of the login. They say what they are.
  const mayHaveNonce = /^(bearer|dpop)$/i.test(String(claims.typ));
  return FOREIGN_CLAIMS.some((name) => Object.hasOwn(claims, name) && !(name === 'nonce' && mayHaveNonce));
}

function refuseIdentity(
  claims: Readonly<Record<string, unknown>>,
  demands: BearerDemands,
  now: number,
): BearerRefusal | undefined {
  const { clockTolerance } = demands;
  if (isForeign(claims)) return invalidToken('It is no access token');
  if (claims.iss !== demands.issuer) return invalidToken('It is of another issuer');
  if (typeof claims.exp !== 'number' || !Number.isFinite(claims.exp)) return invalidToken('It has no expiry');
  if (claims.exp + clockTolerance <= now) return invalidToken('It has expired');
  if (claims.nbf !== undefined && !isPast(claims.nbf, now + clockTolerance))
    return invalidToken('It is not valid yet');
  if (claims.iat !== undefined && !isPast(claims.iat, now + clockTolerance))
    return invalidToken('It is from the future');
  if (claims.sub !== undefined && (typeof claims.sub !== 'string' || claims.sub === ''))
    return invalidToken('Its subject is no text');
  const audience = typeof claims.aud === 'string' ? [claims.aud] : claims.aud;
  if (!Array.isArray(audience) || !demands.audience.some((own) => audience.includes(own)))
    return invalidToken('It is for another audience');
  return undefined;
}

function refuseAuthorization(
  claims: Readonly<Record<string, unknown>>,
  demands: BearerDemands,
  now: number,
): BearerRefusal | undefined {
  if (demands.scopes.length > 0 && !includesAll(scopesOf(claims), demands.scopes))
    return { status: 403, error: 'insufficient_scope', description: 'It lacks a scope' };
  const lacks = Object.entries(demands.claims).some(([name, value]) => !claimIs(claims, name, value));
  if (lacks) return { status: 403, error: 'insufficient_scope', description: 'It lacks a claim' };
  if (satisfiesStepUp(claims, demands, now, demands.clockTolerance)) return undefined;
  return {
    status: 401,
    error: 'insufficient_user_authentication',
    description: 'A stronger or more recent sign-in is needed',
  };
}

/** `scope` (RFC 9068 §2.2.3), or `scp` as some providers write it, as a text or an array. */
export function scopesOf(claims: Readonly<Record<string, unknown>>): ScopeSet {
  const value = claims.scope ?? claims.scp;
  if (typeof value === 'string') return scopeSet(value.split(' ').filter((scope) => scope !== ''));
  return Array.isArray(value)
    ? scopeSet(value.filter((scope): scope is string => typeof scope === 'string'))
    : [];
}

/** The key that a token is bound to (RFC 9449 §6.1, RFC 8705 §3.1): `none` when whoever has it may use it. */
export function bindingOf(
  claims: Readonly<Record<string, unknown>>,
): { kind: 'none' } | { kind: 'dpop'; thumbprint: string } | { kind: 'other' } {
  if (claims.cnf === undefined) return { kind: 'none' };
  const thumbprint = isRecord(claims.cnf) ? claims.cnf.jkt : undefined;
  return typeof thumbprint === 'string' ? { kind: 'dpop', thumbprint } : { kind: 'other' };
}

/**
 * The credentials of an `Authorization` header (RFC 6750 §2.1). Undefined: there are none. `malformed`: not what the
 * scheme allows.
 */
export function parseAuthorization(
  header: string | undefined,
): { scheme: 'bearer' | 'dpop'; token: string } | 'malformed' | undefined {
  if (header === undefined) return undefined;
  const found = /^(\S+)[ ]*(.*)$/.exec(header);
  const scheme = found?.[1]?.toLowerCase();
  if (scheme !== 'bearer' && scheme !== 'dpop') return undefined;
  const token = found?.[2] ?? '';
  if (token.length > MAX_TOKEN_LENGTH || !/^[A-Za-z0-9\-._~+/]+=*$/.test(token)) return 'malformed';
  return { scheme, token };
}

const MAX_TOKEN_LENGTH = 16_384;

function isPast(value: unknown, now: number): boolean {
  return typeof value === 'number' && value <= now;
}

/** What a token is refused with that is not to be believed, or not here. */
export function invalidToken(description: string): BearerRefusal {
  return { status: 401, error: 'invalid_token', description };
}
