import { buildEndSessionUrl } from 'openid-client';
import { endpointUrl } from './fetch.ts';
import type { Connection } from './provider.ts';

/**
 * The URL of RP-initiated logout (OpenID Connect RP-Initiated Logout §2); undefined where the provider has none.
 *
 * @throws {ConfigurationError} when the ID token would travel by plain http.
 */
export function endSessionUrl(
  { config, server, allowInsecureRequests }: Connection,
  logout: { idToken: string | undefined; postLogoutRedirectUri: string },
): URL | undefined {
  if (server.end_session_endpoint === undefined) return undefined;
  endpointUrl(server.end_session_endpoint, 'end_session_endpoint', allowInsecureRequests);
  return buildEndSessionUrl(config, {
    post_logout_redirect_uri: logout.postLogoutRedirectUri,
    ...(logout.idToken === undefined ? {} : { id_token_hint: logout.idToken }),
  });
}
