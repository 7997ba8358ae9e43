import type { KoaContextWithOIDC, Provider } from 'oidc-provider';

/** How often the token endpoint was asked, by grant type. */
export type GrantCounts = Record<string, number>;

/** Counts what comes to the token endpoint, good or not, for each user, and for the app where it asks for itself. */
export function countGrants(provider: Provider): (who: string) => GrantCounts {
  const counts = new Map<string, GrantCounts>();

  function count(context: KoaContextWithOIDC): void {
    const grantType = String(context.oidc.params?.grant_type);
    void ownerOf(context).then((who) => {
      const own = counts.get(who) ?? {};
      counts.set(who, { ...own, [grantType]: (own[grantType] ?? 0) + 1 });
    });
  }

  async function ownerOf({ oidc }: KoaContextWithOIDC): Promise<string> {
    const { grant_type: grantType, refresh_token: refreshToken } = oidc.params ?? {};
    if (grantType === 'client_credentials') return oidc.client?.clientId ?? '';
    const known = oidc.account ?? oidc.entities.AccessToken;
    if (known) return known.accountId;
    // oidc-provider refuses some refreshes before it says whose they are.
    const found = await provider.RefreshToken.find(String(refreshToken), { ignoreExpiration: true });
    return found?.accountId ?? '';
  }

  provider.on('grant.success', count);
  provider.on('grant.error', count);
  return (who) => counts.get(who) ?? {};
}
