import {
  buildAuthorizationUrl,
  buildAuthorizationUrlWithPAR,
  calculatePKCECodeChallenge,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client';
import { ConfigurationError, ProviderUnavailableError, safeText } from '../core/errors.ts';
import type { ScopeSet } from '../core/scopes.ts';
import { endpointUrl } from './fetch.ts';
import { listed } from './metadata.ts';
import type { Connection } from './provider.ts';

export type AuthorizationParams = Readonly<Record<string, string | readonly string[]>>;

export interface AuthorizationRequest {
  readonly redirectUri: string;
  readonly scopes: ScopeSet;
  readonly resources: readonly string[];
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  readonly responseMode: 'query' | 'form_post';
  readonly audience?: string | undefined;
  readonly claims?: string | undefined;
  readonly acrValues?: string | undefined;
  readonly maxAge?: number | undefined;
  readonly loginHint?: string | undefined;
  readonly prompt?: string | undefined;
  /** Of the app's configuration: sent as they are. */
  readonly params: AuthorizationParams;
  readonly pushed: 'auto' | 'always' | 'never';
}

/** Random values for one authorization request: state, nonce (OpenID Connect Core §3.1.2.1) and PKCE verifier (RFC 7636 §4.1). */
export function newAuthorizationSecrets(): { state: string; nonce: string; verifier: string } {
  return { state: randomState(), nonce: randomNonce(), verifier: randomPKCECodeVerifier() };
}

/** The scopes to ask for: without `offline_access` where the provider says that it does not know it. */
export function supportedScopes(scopes: ScopeSet, { server }: Connection): ScopeSet {
  const supported = listed(server.scopes_supported);
  if (supported === undefined || supported.includes('offline_access')) return scopes;
  return scopes.filter((scope) => scope !== 'offline_access');
}

/**
 * The URL that starts a login at the provider: code flow with PKCE S256 (RFC 7636), one `resource` for each
 * resource (RFC 8707 §2), pushed (RFC 9126) where the provider demands it.
 *
 * @throws {ProviderUnavailableError} when the request cannot be pushed.
 */
export async function authorizationUrl(connection: Connection, request: AuthorizationRequest): Promise<URL> {
  const { config, server } = connection;
  // Not a request of ours, so nothing else looks at where users are sent.
  endpointUrl(server.authorization_endpoint, 'authorization_endpoint', connection.plainHttp);
  const parameters = await authorizationParameters(request);
  const mustPush =
    request.pushed === 'always' ||
    (request.pushed === 'auto' && server.require_pushed_authorization_requests === true);
  if (!mustPush) return buildAuthorizationUrl(config, parameters);
  if (server.pushed_authorization_request_endpoint == null) {
    throw new ConfigurationError(
      "The provider takes no pushed authorization requests: set pushedAuthorizationRequests to 'auto'.",
    );
  }
  try {
    return await buildAuthorizationUrlWithPAR(config, parameters);
  } catch (error) {
    throw pushError(error);
  }
}

function pushError(error: unknown): Error {
  const { error: code, status } = error as { error?: unknown; status?: unknown };
  if (typeof code === 'string' && typeof status === 'number' && status < 500 && status !== 429) {
    return new ConfigurationError(
      `The provider refuses the pushed authorization request (${safeText(code, 80)}).`,
      error,
    );
  }
  return new ProviderUnavailableError(
    'The authorization request could not be pushed to the provider.',
    undefined,
    error,
  );
}

async function authorizationParameters(request: AuthorizationRequest): Promise<URLSearchParams> {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(request.params)) {
    for (const single of Array.isArray(value) ? value : [value]) parameters.append(name, single);
  }
  parameters.delete('resource');
  for (const resource of request.resources) parameters.append('resource', resource);
  const fixed = {
    redirect_uri: request.redirectUri,
    scope: request.scopes.join(' '),
    state: request.state,
    nonce: request.nonce,
    code_challenge: await calculatePKCECodeChallenge(request.verifier),
    code_challenge_method: 'S256',
    response_type: 'code',
    audience: request.audience,
    claims: request.claims,
    acr_values: request.acrValues,
    max_age: request.maxAge,
    login_hint: request.loginHint,
    prompt: request.prompt,
    response_mode: request.responseMode === 'query' ? undefined : request.responseMode,
  };
  for (const [name, value] of Object.entries(fixed)) {
    if (value !== undefined) parameters.set(name, String(value));
  }
  return parameters;
}
