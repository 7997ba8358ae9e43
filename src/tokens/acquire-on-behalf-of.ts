import { createHash } from 'node:crypto';
import { BearerTokenError, ScopeNotGrantedError, safeText } from '../core/errors.ts';
import { classifyFailure } from '../core/token-endpoint-outcome.ts';
import type { NormalizedRequest } from '../core/token-request.ts';
import { formatChallenge } from '../core/www-authenticate.ts';
import { type OnBehalfOfGrant, onBehalfOf } from '../protocol/app-grants.ts';
import type { GrantResult } from '../protocol/grants.ts';
import { type GrantedParts, GrantedTokens } from './granted-tokens.ts';
import type { Acquired } from './refresh.ts';
import { failureError } from './token-errors.ts';

export interface OnBehalfOfParts extends GrantedParts {
  readonly grant: OnBehalfOfGrant;
}

/** The access token that this API was called with. */
export interface Assertion {
  readonly token: string;
  /** Epoch seconds; no answer is kept longer. */
  readonly expiresAt: number;
}

/** Tokens for other APIs on behalf of the user who called this one, by the hash of the incoming token. */
export class OnBehalfOfAcquisition {
  readonly #parts: OnBehalfOfParts;
  readonly #tokens: GrantedTokens;

  constructor(parts: OnBehalfOfParts) {
    this.#parts = parts;
    this.#tokens = new GrantedTokens(parts);
  }

  acquire(assertion: Assertion, request: NormalizedRequest): Promise<Acquired> {
    const { grant } = this.#parts;
    const { resource, audience, claims } = request;
    const asked = {
      scope: request.scopes.join(' '),
      resource,
      audience,
      claims,
      assertion: assertion.token,
      grant,
    };
    const incoming = createHash('sha256').update(assertion.token).digest('base64url');
    return this.#tokens.acquire({
      key: `${incoming} ${request.key}`,
      request,
      notAfter: assertion.expiresAt,
      send: (context) => onBehalfOf(context, asked),
      failure: (result) => onBehalfOfFailure(result, request),
    });
  }

  close(): Promise<void> {
    return this.#tokens.close();
  }
}

/**
 * Where the user is needed, the API's caller is told in the words that it understands: the claims challenge of the
 * provider, in base64url, or that the user has to sign in again (RFC 9470 §3). An incoming token that the provider
 * does not take is no good, and its caller may have a better one.
 */
function onBehalfOfFailure(result: GrantResult & { ok: false }, request: NormalizedRequest): Error {
  const outcome = classifyFailure(result.failure);
  if (outcome.kind === 'scope_refused') return new ScopeNotGrantedError(request.scopes);
  if (outcome.kind !== 'interaction' && outcome.kind !== 'rejected') return failureError(outcome);
  const claims = outcome.kind === 'interaction' ? outcome.claims : undefined;
  const needsUser = claims === undefined ? 'insufficient_user_authentication' : 'insufficient_claims';
  const error = outcome.kind === 'interaction' ? needsUser : 'invalid_token';
  const reason = safeText(result.failure.error ?? outcome.kind, 80);
  const parameters = {
    error,
    error_description:
      error === 'invalid_token'
        ? 'The provider does not take it any more'
        : 'The user has to sign in or consent again',
    claims: claims === undefined ? undefined : Buffer.from(claims).toString('base64url'),
  };
  return new BearerTokenError(`The provider gives no token on behalf of this user (${reason}).`, {
    status: 401,
    error,
    challenge: formatChallenge('Bearer', parameters),
  });
}
