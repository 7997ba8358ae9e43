import { fetchUserInfo } from 'openid-client';
import type { Fetch } from './fetch.ts';
import { ASYMMETRIC_ALGORITHMS, claimsOf, InvalidJwtError, type KeySet } from './jwt.ts';
import type { Connection } from './provider.ts';

/** The claims of the userinfo endpoint (OpenID Connect Core §5.3), checked to be about `subject`. */
export async function userInfo(
  connection: Connection,
  accessToken: string,
  subject: string,
): Promise<Record<string, unknown>> {
  return { ...(await fetchUserInfo(connection.config, accessToken, subject)) };
}

interface Expected {
  readonly issuer: string | undefined;
  readonly clientId: string;
}

/**
 * A userinfo answer that is a JWT (Core §5.3.2) goes on as the JSON of its claims. openid-client does not check its
 * signature, and takes none where the metadata leaves out by which algorithms it is signed.
 */
export function verifiedClaimsFetch(fetch: Fetch, keys: KeySet, expected: () => Expected): Fetch {
  return async (url, init) => {
    const response = await fetch(url, init);
    const isJwt = /^application\/jwt\s*(;|$)/i.test(response.headers.get('content-type') ?? '');
    if (response.status !== 200 || !isJwt) return response;
    const claims = claimsOf(await keys.verify(await response.text(), ASYMMETRIC_ALGORITHMS));
    const { issuer, clientId } = expected();
    const { iss = issuer, aud = clientId } = claims;
    if (iss !== issuer || ![aud].flat().includes(clientId))
      throw new InvalidJwtError('It is of another issuer, or for another client');
    return Response.json(claims);
  };
}
