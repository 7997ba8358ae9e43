import { decodeJwt } from 'jose';
import {
  AuthorizationResponseError,
  authorizationCodeGrant,
  refreshTokenGrant,
  tokenRevocation,
} from 'openid-client';
import type { IdTokenClaims } from '../core/claims.ts';
import { ConfigurationError, LoginError, safeText } from '../core/errors.ts';
import { readAnswer, type TokenAnswer } from '../core/token-answer.ts';
import type { TokenEndpointFailure } from '../core/token-endpoint-outcome.ts';
import type { Target } from '../core/token-request.ts';
import { configurationErrorIn } from './fetch.ts';
import { InvalidJwtError, KeysUnavailableError } from './jwt.ts';
import type { Connection } from './provider.ts';
import { type Exchange, withExchange } from './token-response.ts';

/** How a token endpoint request ended. */
export type GrantResult =
  | { readonly ok: true; readonly answer: TokenAnswer; readonly claims: IdTokenClaims | undefined }
  | {
      readonly ok: false;
      readonly failure: TokenEndpointFailure;
      /** The refresh token of an answer that was refused for another reason. */
      readonly refreshToken: string | undefined;
    };

export interface GrantContext {
  readonly connection: Connection;
  readonly signal: AbortSignal;
  readonly now: () => number;
}

export interface Redemption extends Target {
  readonly redirectUri: string;
  /** The parameters of the authorization response. */
  readonly response: URLSearchParams;
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly maxAge: number | undefined;
}

/**
 * Redeems the code of an authorization response (OpenID Connect Core §3.1.3), checked by state, `iss` (RFC 9207),
 * PKCE and nonce; the ID token fully validated, its signature too.
 *
 * @throws {LoginError} when the authorization response is an error or not to be believed.
 */
export async function redeemCode(context: GrantContext, redemption: Redemption): Promise<GrantResult> {
  const url = new URL(redemption.redirectUri);
  url.search = redemption.response.toString();
  const checks = {
    pkceCodeVerifier: redemption.verifier,
    expectedState: redemption.state,
    expectedNonce: redemption.nonce,
    idTokenExpected: true,
    ...(redemption.maxAge === undefined ? {} : { maxAge: redemption.maxAge }),
  };
  // Which audience the code is for was settled by the authorization request.
  const parameters = targetParameters({ resource: redemption.resource });
  return runGrant(context, undefined, () =>
    authorizationCodeGrant(context.connection.config, url, checks, parameters),
  );
}

export interface Refresh extends Target {
  readonly refreshToken: string;
  /** Empty: everything that was granted. */
  readonly scope: string;
  readonly claims: string | undefined;
  readonly subject: string;
}

/** The refresh grant (RFC 6749 §6), also for other scopes or another resource (RFC 8707 §2.2). */
export async function refreshTokens(context: GrantContext, refresh: Refresh): Promise<GrantResult> {
  const parameters = targetParameters(refresh);
  if (refresh.scope !== '') parameters.set('scope', refresh.scope);
  if (refresh.claims !== undefined) parameters.set('claims', refresh.claims);
  const result = await runGrant(context, refresh.subject, () =>
    refreshTokenGrant(context.connection.config, refresh.refreshToken, parameters),
  );
  if (!result.ok || isForAudience(result.answer.accessToken, refresh.audience)) return result;
  const failure = { transport: 'answered', refused: 'other_audience' } as const;
  return { ok: false, failure, refreshToken: result.answer.refreshToken };
}

/** A provider that does not know `audience` on a refresh answers for another one; a JWT shows it. */
function isForAudience(accessToken: string, audience: string | undefined): boolean {
  if (audience === undefined) return true;
  try {
    const { aud } = decodeJwt(accessToken);
    return aud === undefined || [aud].flat().includes(audience);
  } catch {
    // Opaque: there is nothing to see.
    return true;
  }
}

export function targetParameters({ resource, audience }: Target): URLSearchParams {
  const parameters = new URLSearchParams();
  if (resource !== undefined) parameters.set('resource', resource);
  if (audience !== undefined) parameters.set('audience', audience);
  return parameters;
}

interface Claims {
  claims(): object | undefined;
}

export async function runGrant(
  context: GrantContext,
  subject: string | undefined,
  grant: () => Promise<Claims>,
): Promise<GrantResult> {
  const exchange: Exchange = { signal: context.signal, now: context.now };
  try {
    const response = await withExchange(exchange, grant);
    const claims = response.claims() as IdTokenClaims | undefined;
    const answer = readAnswer(exchange.answer ?? {});
    if (answer === undefined) return refuse('malformed');
    if (claims !== undefined && !isSubject(claims.sub)) return refuse('invalid_id_token', SUBJECT_DETAIL);
    // openid-client does not compare the subject of a refreshed ID token with the earlier one (Core §12.2).
    if (subject !== undefined && claims !== undefined && claims.sub !== subject) {
      return {
        ok: false,
        failure: { transport: 'answered', refused: 'other_subject' },
        refreshToken: undefined,
      };
    }
    if (answer.idToken !== undefined) await verifyIdToken(answer.idToken, context.connection);
    return { ok: true, answer, claims };
  } catch (error) {
    if (exchange.failure !== undefined)
      return { ok: false, failure: exchange.failure, refreshToken: undefined };
    if (exchange.answer === undefined) throw asTypedError(error);
    if (typeof exchange.answer.access_token !== 'string') return refuse('malformed');
    return refuse(
      error instanceof KeysUnavailableError ? 'keys_unavailable' : 'invalid_id_token',
      detailOf(error),
    );
  }

  function refuse(refused: NonNullable<TokenEndpointFailure['refused']>, detail?: string): GrantResult {
    const failure = { transport: 'answered', refused, ...(detail === undefined ? {} : { detail }) } as const;
    return { ok: false, failure, refreshToken: exchange.refreshToken };
  }
}

const MAX_SUBJECT_LENGTH = 255;
const SUBJECT_DETAIL = `its sub is empty, or longer than ${MAX_SUBJECT_LENGTH} characters`;

/** OpenID Connect Core §2. It names the account in the session, in every record, and in the next login's hint. */
function isSubject(sub: string): boolean {
  return sub !== '' && sub.length <= MAX_SUBJECT_LENGTH;
}

async function verifyIdToken(idToken: string, { keys, idTokenSigningAlg }: Connection): Promise<void> {
  await keys.verify(idToken, [idTokenSigningAlg]);
}

/** What openid-client or we found wrong: its code, and the words for it, which name header fields and claims alone. */
function detailOf(error: unknown): string {
  if (error instanceof InvalidJwtError) return error.message;
  const { code, cause } = error as { code?: unknown; cause?: { message?: unknown } };
  const words = typeof cause?.message === 'string' ? `: ${safeText(cause.message, 200)}` : '';
  return `${typeof code === 'string' ? code : 'unknown'}${words}`;
}

/** What openid-client says of an endpoint that it cannot call. */
const METADATA_CODES = [
  'OAUTH_MISSING_SERVER_METADATA',
  'OAUTH_INVALID_SERVER_METADATA',
  'OAUTH_REQUEST_PROTOCOL_FORBIDDEN',
];

/** Before the token endpoint was called: the authorization response was an error, or did not fit the request. */
function asTypedError(error: unknown): unknown {
  if (error instanceof AuthorizationResponseError) {
    return new LoginError(
      error.error === 'access_denied'
        ? 'The access that was asked for was not allowed, by the user or by the provider.'
        : `The provider answered the login with ${safeText(error.error, 80)}.`,
      { error: error.error, errorDescription: error.error_description },
    );
  }
  const misconfigured = configurationErrorIn(error);
  if (misconfigured !== undefined) return misconfigured;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && METADATA_CODES.includes(code))
    return new ConfigurationError('The provider names no usable token_endpoint in its metadata.', error);
  if (typeof code === 'string' && code.startsWith('OAUTH_')) {
    return new LoginError(
      'The answer of the provider to the login does not fit the request, so it is not used.',
      { error: 'invalid_response', cause: error },
    );
  }
  return error;
}

/** Tells the provider that a refresh token is not needed any more (RFC 7009), where it has an endpoint for that. */
export async function revokeRefreshToken(
  { config, server }: Connection,
  refreshToken: string,
): Promise<void> {
  if (server.revocation_endpoint == null) return;
  await tokenRevocation(config, refreshToken, { token_type_hint: 'refresh_token' });
}
