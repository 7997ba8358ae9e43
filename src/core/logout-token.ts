import { isRecord } from './cache-codec.ts';

const EVENT = 'http://schemas.openid.net/event/backchannel-logout';

/** What sessions are found by: a session at the provider, or an account. */
export type LogoutSubject =
  | { readonly kind: 'sid'; readonly value: string }
  | { readonly kind: 'sub'; readonly value: string };

/** What a logout token says. */
export interface LogoutDemand {
  /** One session at the provider. */
  readonly sid: string | undefined;
  /** All of an account; beside `sid`, those that the provider never gave one. */
  readonly sub: string | undefined;
  /** The token's id: it is good once. */
  readonly jti: string;
  /** Epoch seconds. */
  readonly expiresAt: number;
}

export interface LogoutExpectations {
  readonly issuer: string;
  readonly clientId: string;
  /** Epoch seconds. */
  readonly now: number;
  /** Seconds. */
  readonly clockTolerance: number;
}

/** Nobody has to remember for longer that a token was used. */
const MAX_LIFETIME = 366 * 86_400;

/** How long a logout token without `exp` is good, as providers sent it before the specification was final. */
const DEFAULT_LIFETIME = 120;

/**
 * The claims of a logout token whose signature was verified (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6): what
 * they demand, or what is wrong with them.
 */
export function readLogoutClaims(
  claims: Readonly<Record<string, unknown>>,
  { issuer, clientId, now, clockTolerance }: LogoutExpectations,
): LogoutDemand | string {
  const { iss, aud, sub, sid, iat, exp, jti, events } = claims;
  if (iss !== issuer) return 'it is of another issuer';
  if (![aud].flat().includes(clientId)) return 'it is for another client';
  if (typeof iat !== 'number' || iat > now + clockTolerance) return 'it was not issued in the past';
  const expiresAt = exp === undefined ? iat + DEFAULT_LIFETIME : exp;
  if (typeof expiresAt !== 'number' || !(expiresAt + clockTolerance > now)) return 'it has expired';
  if (expiresAt > now + MAX_LIFETIME) return 'it would be good for more than a year';
  if (!isRecord(events) || !isRecord(events[EVENT])) return 'it does not name the logout event';
  if (Object.hasOwn(claims, 'nonce')) return 'it has a nonce, as ID tokens do';
  if (typeof jti !== 'string' || jti === '') return 'it has no id';
  const names = { sid: isName(sid) ? sid : undefined, sub: isName(sub) ? sub : undefined };
  if (names.sid === undefined && names.sub === undefined) return 'it names neither a session nor an account';
  return { ...names, jti, expiresAt };
}

/**
 * Whether a session that was found by its account is meant: all are where the token names nothing else; beside a `sid`
 * those alone that the provider never gave one.
 */
export function endsSession(demand: Pick<LogoutDemand, 'sid'>, sid: string | undefined): boolean {
  return demand.sid === undefined || sid === undefined;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
