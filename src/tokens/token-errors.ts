import {
  ConfigurationError,
  type InteractionReason,
  InteractionRequiredError,
  LoginError,
  ProviderUnavailableError,
  StoreUnavailableError,
  safeText,
  TokenEndpointError,
} from '../core/errors.ts';
import type { CachedToken } from '../core/token-cache.ts';
import { classifyFailure, type Outcome, type TokenEndpointFailure } from '../core/token-endpoint-outcome.ts';
import type { NormalizedRequest } from '../core/token-request.ts';

/** Only the user can help with this request. */
export function interactionError(
  reason: InteractionReason,
  request: NormalizedRequest,
): InteractionRequiredError {
  const { scopes, resource, audience, claims, acrValues, maxAge } = request;
  return new InteractionRequiredError({ reason, scopes, resource, audience, claims, acrValues, maxAge });
}

/** What the provider says of it, such as that the secret has expired, is the cause. */
function refusedClient({ error, description }: Outcome & { kind: 'configuration' }): ConfigurationError {
  return new ConfigurationError(
    `The provider refuses this client (${safeText(error, 80)}). Check the client id, the client secret and clientAuth.`,
    description === undefined ? undefined : new Error(safeText(description, 300)),
  );
}

/** `close()` was called. */
export function shuttingDown(): ProviderUnavailableError {
  return new ProviderUnavailableError('This process is shutting down.', 1);
}

/** The error for an outcome of a token request that neither the user nor another try can change now. */
export function failureError(outcome: Outcome): Error {
  switch (outcome.kind) {
    case 'throttled':
      return new ProviderUnavailableError('The provider asked for patience.', outcome.retryAfter);
    case 'not_sent':
      return new ProviderUnavailableError('The provider cannot be reached. The tokens are kept; try again.');
    case 'ambiguous':
      return new ProviderUnavailableError(
        'The provider did not answer the token request. The tokens are kept; try again.',
      );
    case 'configuration':
      return refusedClient(outcome);
    case 'unusable':
      return outcome.because === 'keys_unavailable'
        ? new ProviderUnavailableError(
            "The provider's keys cannot be had, so its ID token cannot be checked.",
          )
        : new TokenEndpointError(
            `The provider answered the token request with something that is not to be believed (${outcome.because}).`,
          );
    default: {
      const error = outcome.kind === 'failed' ? outcome.error : outcome.kind;
      return new TokenEndpointError(
        `The provider answered the token request with an error (${safeText(error, 80)}).`,
        { error },
      );
    }
  }
}

/**
 * Whether a token is served that is about to end. While it is good it is better than a fault that passes by itself or
 * by an operator's hand; not so than an answer with tokens that is not to be believed.
 */
export function mayServeStale(
  token: CachedToken | undefined,
  error: unknown,
  now: number,
): token is CachedToken {
  if (token === undefined || token.expiresAt <= now) return false;
  return (
    error instanceof ProviderUnavailableError ||
    error instanceof ConfigurationError ||
    error instanceof StoreUnavailableError ||
    (error instanceof TokenEndpointError && error.error !== undefined)
  );
}

/** What came in the place of tokens, for the log. */
function answerOf({ status, refused }: TokenEndpointFailure): Error | undefined {
  if (refused === 'malformed') return new Error('It answered without a usable access_token');
  return status === undefined ? undefined : new Error(`It answered ${status}`);
}

/** The error for a code that could not be redeemed. */
export function redemptionError(failure: TokenEndpointFailure): Error {
  const outcome = classifyFailure(failure);
  switch (outcome.kind) {
    case 'configuration':
      return refusedClient(outcome);
    case 'throttled':
      return new ProviderUnavailableError(
        'The provider asked for patience during the login. Sign in again in a moment.',
        outcome.retryAfter,
      );
    case 'not_sent':
    case 'ambiguous':
      return new ProviderUnavailableError(
        'The provider did not answer during the login. Sign in again in a moment.',
        undefined,
        answerOf(failure),
      );
    case 'unusable':
      if (outcome.because === 'keys_unavailable')
        return new ProviderUnavailableError(
          "The provider's keys cannot be had, so the login cannot be checked.",
        );
      return new LoginError('The ID token of this login is not valid, so it is not used.', {
        error: 'invalid_id_token',
        cause: failure.detail === undefined ? undefined : new Error(failure.detail),
      });
    case 'rejected':
      return new LoginError('The provider does not accept this login any more. Sign in again.', {
        error: 'invalid_grant',
      });
    default:
      return new LoginError('The provider refused to complete the login.', {
        error: failure.error ?? outcome.kind,
        errorDescription: failure.description,
      });
  }
}
