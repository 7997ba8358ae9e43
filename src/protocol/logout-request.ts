import { buildEndSessionUrl } from 'openid-client';
import { endpointUrl } from './fetch.ts';
import { claimsOf, headerOf, InvalidJwtError } from './jwt.ts';
import type { Connection } from './provider.ts';

/**
 * The URL of RP-initiated logout (OpenID Connect RP-Initiated Logout §2); undefined where the provider has none.
 *
 * @throws {ConfigurationError} when the ID token would travel by plain http.
 */
export function endSessionUrl(
  { config, server, plainHttp }: Connection,
  logout: { idToken: string | undefined; postLogoutRedirectUri: string },
): URL | undefined {
  if (server.end_session_endpoint == null) return undefined;
  endpointUrl(server.end_session_endpoint, 'end_session_endpoint', plainHttp);
  return buildEndSessionUrl(config, {
    post_logout_redirect_uri: logout.postLogoutRedirectUri,
    ...(logout.idToken === undefined ? {} : { id_token_hint: logout.idToken }),
  });
}

/** `logout+jwt`, and what providers send that do not type their tokens (Back-Channel Logout 1.0 §2.4). */
const LOGOUT_TOKEN_TYPES: readonly unknown[] = [undefined, 'logout+jwt', 'application/logout+jwt', 'jwt'];

/**
 * The claims of a logout token, its signature and type checked; the claims themselves are not.
 *
 * @throws {InvalidJwtError} when it is not to be believed.
 * @throws {KeysUnavailableError} when the provider's keys cannot be had.
 */
export async function verifyLogoutToken(
  { keys, idTokenSigningAlg }: Connection,
  token: string,
): Promise<Record<string, unknown>> {
  const header = headerOf(token);
  const typ: unknown = header?.typ;
  if (!LOGOUT_TOKEN_TYPES.includes(typeof typ === 'string' ? typ.toLowerCase() : typ))
    throw new InvalidJwtError('It is a JWT of another kind');
  return claimsOf(await keys.verify(token, [idTokenSigningAlg], header));
}
