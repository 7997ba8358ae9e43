import type { Request } from 'express';
import { normalizeRequest, type TokenRequestInput } from '../core/token-request.ts';
import type { Assertion } from '../tokens/acquire-on-behalf-of.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import type { Acquired } from '../tokens/refresh.ts';
import type { Shared } from './context.ts';
import { normalize } from './get-token.ts';

/** A token of the app itself; it belongs to nobody. */
export type AppTokenResult = Omit<TokenResult, 'account'>;

/** A token for another API, on behalf of the user that an API was called for. */
export type OnBehalfOfResult = Omit<TokenResult, 'account'>;

export async function getAppToken(shared: Shared, input?: TokenRequestInput): Promise<AppTokenResult> {
  // The login's own scopes are a user's.
  const request =
    typeof input === 'string'
      ? normalize(shared, input)
      : normalizeRequest(input, { ...shared.settings.requestDefaults, scopes: [] });
  const own = shared.appTokens.fromMemory(request);
  return withoutAccount(
    own === undefined ? await shared.appTokens.acquire(request) : { token: own, source: 'cache' },
  );
}

export async function getTokenOnBehalfOf(
  shared: Shared,
  assertion: Assertion,
  input?: TokenRequestInput,
): Promise<OnBehalfOfResult> {
  if (typeof assertion.token !== 'string' || assertion.token === '')
    throw new TypeError('getTokenOnBehalfOf() takes the access token that this API was called with');
  return withoutAccount(await shared.onBehalfOf.acquire(assertion, normalize(shared, input)));
}

export function makeGetTokenOnBehalfOf(shared: Shared, req: Request) {
  return async function getTokenOnBehalfOfCaller(input?: TokenRequestInput): Promise<OnBehalfOfResult> {
    if (req.bearer === undefined)
      throw new TypeError(
        'req.getTokenOnBehalfOf() works after requiresBearer(): there is no access token of a caller',
      );
    const { token, expiresAt } = req.bearer;
    return getTokenOnBehalfOf(shared, { token, expiresAt }, input);
  };
}

function withoutAccount({ token, ...how }: Acquired): AppTokenResult {
  const { accessToken, tokenType, scopes, expiresAt } = token;
  return { accessToken, tokenType, scopes, expiresAt, ...how };
}
