import type { Account } from './token-cache.ts';

/** The claims of a verified ID token (OpenID Connect Core §2, §5.1). */
export interface IdTokenClaims {
  readonly iss: string;
  readonly sub: string;
  readonly [claim: string]: unknown;
}

/** Claims that the rules read; they stay when the claims have to be cut. */
const NEEDED: readonly string[] = [
  'iss',
  'sub',
  'aud',
  'exp',
  'iat',
  'auth_time',
  'acr',
  'amr',
  'sid',
  'name',
  'email',
  'preferred_username',
];

/** How much of the claims the session may hold, in bytes of JSON. */
const MAX_CLAIMS_BYTES = 4096;

export function accountOf(claims: IdTokenClaims): Account {
  const username = claims.preferred_username ?? claims.email;
  return {
    issuer: claims.iss,
    subject: claims.sub,
    ...(typeof username === 'string' ? { username } : {}),
    ...(typeof claims.name === 'string' ? { name: claims.name } : {}),
  };
}

/**
 * The claims that go into the session: all, or, above 4 KiB, the needed ones and as many of the others as fit,
 * the small ones first. `dropped` names what was left out.
 */
export function claimsForSession(claims: IdTokenClaims): { claims: IdTokenClaims; dropped: string[] } {
  if (jsonBytes(claims) <= MAX_CLAIMS_BYTES) return { claims, dropped: [] };
  const size = (name: string) => jsonBytes({ [name]: claims[name] });
  const names = Object.keys(claims).sort(
    (a, b) => Number(NEEDED.includes(b)) - Number(NEEDED.includes(a)) || size(a) - size(b),
  );
  const kept: string[] = [];
  let bytes = 2;
  for (const name of names) {
    if (name !== 'iss' && name !== 'sub' && bytes + size(name) > MAX_CLAIMS_BYTES) continue;
    bytes += size(name);
    kept.push(name);
  }
  const entries = Object.entries(claims).filter(([name]) => kept.includes(name));
  return {
    claims: Object.fromEntries(entries) as IdTokenClaims,
    dropped: names.filter((name) => !kept.includes(name)),
  };
}

function jsonBytes(value: unknown): number {
  try {
    // UTF-8 bytes without a TextEncoder: characters above U+007F count for three at most.
    return JSON.stringify(value).replace(/[^\0-\x7f]/g, '...').length;
  } catch {
    // Nested so deeply that it can be read and not be written.
    return Number.POSITIVE_INFINITY;
  }
}

/** Of an ID token or of an access token. */
type Claims = Readonly<Record<string, unknown>>;

export interface StepUp {
  readonly acrValues?: string | undefined;
  readonly maxAge?: number | undefined;
}

/** Whether a login satisfies a step-up demand (RFC 9470 §4): one of the classes, and recent enough. */
export function satisfiesStepUp(claims: Claims, stepUp: StepUp, now: number, tolerance: number): boolean {
  if (stepUp.acrValues !== undefined && !stepUp.acrValues.split(' ').includes(String(claims.acr)))
    return false;
  if (stepUp.maxAge === undefined) return true;
  return typeof claims.auth_time === 'number' && now - claims.auth_time <= stepUp.maxAge + tolerance;
}

/** A claim equals a value, compared as JSON values are. */
export function claimIs(claims: Claims, name: string, value: string | number | boolean | null): boolean {
  return Object.hasOwn(claims, name) && claims[name] === value;
}

/** A claim, an array or a string separated by spaces, holds all of these values. */
export function claimHolds(
  claims: Claims,
  name: string,
  values: readonly (string | number | boolean)[],
): boolean {
  if (!Object.hasOwn(claims, name)) return false;
  const claim = claims[name];
  const held: readonly unknown[] = Array.isArray(claim)
    ? claim
    : typeof claim === 'string'
      ? claim.split(' ')
      : [];
  return values.every((value) => held.includes(value));
}
