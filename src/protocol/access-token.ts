import { calculateJwkThumbprint, compactVerify, decodeJwt, EmbeddedJWK, type JWK } from 'jose';
import { ResponseBodyError, tokenIntrospection, WWWAuthenticateChallengeError } from 'openid-client';
import { isAccessTokenType } from '../core/bearer-token.ts';
import { isRecord } from '../core/cache-codec.ts';
import { ConfigurationError } from '../core/errors.ts';
import { ASYMMETRIC_ALGORITHMS, headerOf, InvalidJwtError, type JwtHeader } from './jwt.ts';
import type { Connection } from './provider.ts';

/** The header of a signed JWT, or of an unsigned one; everything else is opaque to us. */
export function jwtHeaderOf(token: string): JwtHeader | undefined {
  return token.split('.', 4).length === 3 ? headerOf(token) : undefined;
}

/**
 * The claims of a JWT access token (RFC 9068 §4), its signature and type checked; the claims themselves are not.
 *
 * @throws {InvalidJwtError} when it is not to be believed.
 * @throws {KeysUnavailableError} when the provider's keys cannot be had.
 */
export async function verifyAccessToken(
  { keys }: Connection,
  token: string,
  header: JwtHeader,
): Promise<Record<string, unknown>> {
  if (!isAccessTokenType(header.typ)) throw new InvalidJwtError('It is a JWT of another kind');
  return claimsOf(await keys.verify(token, ASYMMETRIC_ALGORITHMS, header));
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function claimsOf(payload: Uint8Array): Record<string, unknown> {
  try {
    const claims: unknown = JSON.parse(utf8.decode(payload));
    if (isRecord(claims)) return claims;
  } catch (cause) {
    throw new InvalidJwtError('Its claims cannot be read', cause);
  }
  throw new InvalidJwtError('Its claims are not a JSON object');
}

/** Epoch seconds; infinite for an opaque token, which shows no expiry. */
export function expiryOf(token: string): number {
  try {
    return decodeJwt(token).exp ?? Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/**
 * Asks the provider about an opaque token (RFC 7662). Undefined: it is not active, or nothing that the provider knows.
 *
 * @throws {ConfigurationError} when the provider does not tell this client.
 */
export async function introspect(
  { config }: Connection,
  token: string,
): Promise<Record<string, unknown> | undefined> {
  try {
    const answer = await tokenIntrospection(config, token, { token_type_hint: 'access_token' });
    return answer.active === true ? { ...answer } : undefined;
  } catch (error) {
    if (error instanceof ResponseBodyError && TOKEN_REFUSED.has(error.error)) return undefined;
    const isRefused = error instanceof ResponseBodyError || error instanceof WWWAuthenticateChallengeError;
    if (!isRefused || (error.status !== 401 && error.status !== 403)) throw error;
    throw new ConfigurationError(
      'The provider does not let this client introspect tokens. Check the client id, the client secret and clientAuth.',
      error,
    );
  }
}

/** What some providers answer instead of `active: false`. */
const TOKEN_REFUSED: ReadonlySet<string> = new Set(['unsupported_token_type', 'invalid_token']);

export interface DpopProof {
  /** The thumbprint of the key that signed the proof (RFC 7638). */
  readonly thumbprint: string;
  readonly claims: Record<string, unknown>;
}

/**
 * Verifies the signature of a DPoP proof by the key inside it (RFC 9449 §4.3); what it proves is not checked here.
 *
 * @throws {InvalidJwtError} when it is no such proof.
 */
export async function verifyDpopProof(proof: string): Promise<DpopProof> {
  try {
    const { protectedHeader } = await compactVerify(proof, EmbeddedJWK, {
      algorithms: [...ASYMMETRIC_ALGORITHMS],
    });
    if (protectedHeader.typ !== 'dpop+jwt')
      throw new InvalidJwtError('The DPoP proof is a JWT of another kind');
    const jwk = protectedHeader.jwk as JWK;
    if (jwk.d !== undefined) throw new InvalidJwtError('The DPoP proof shows a private key');
    return { thumbprint: await calculateJwkThumbprint(jwk), claims: decodeJwt(proof) };
  } catch (cause) {
    throw cause instanceof InvalidJwtError
      ? cause
      : new InvalidJwtError('The DPoP proof cannot be verified', cause);
  }
}
