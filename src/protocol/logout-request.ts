import { buildEndSessionUrl } from 'openid-client';
import type { Connection } from './provider.ts';

/** The URL of RP-initiated logout (OpenID Connect RP-Initiated Logout §2); undefined where the provider has none. */
export function endSessionUrl(
  { config, server }: Connection,
  logout: { idToken: string | undefined; postLogoutRedirectUri: string },
): URL | undefined {
  if (server.end_session_endpoint === undefined) return undefined;
  return buildEndSessionUrl(config, {
    post_logout_redirect_uri: logout.postLogoutRedirectUri,
    ...(logout.idToken === undefined ? {} : { id_token_hint: logout.idToken }),
  });
}
