/** How often somebody's tokens were asked for at the provider, by grant type. */
export type Grants = Record<string, number>;

/** For a user's subject, or for the client id where a token is nobody's. */
export type GrantsOf = (who: string) => Promise<Grants | undefined>;

/** The local provider counts; of a real one nothing is known. */
export function grantsAt(url: string | undefined): GrantsOf {
  return async (who) => {
    if (!url) return undefined;
    const answer = await fetch(`${url}/${encodeURIComponent(who)}`).catch(() => undefined);
    return answer?.ok ? ((await answer.json()) as Grants) : undefined;
  };
}

const names: [grantType: string, one: string, many: string][] = [
  ['authorization_code', 'sign-in', 'sign-ins'],
  ['refresh_token', 'refresh', 'refreshes'],
  ['urn:ietf:params:oauth:grant-type:token-exchange', 'exchange', 'exchanges'],
  ['client_credentials', 'app token', 'app tokens'],
];

export function inWords(grants: Grants): string {
  const parts = names.flatMap(([grantType, one, many]) => {
    const count = grants[grantType] ?? 0;
    return count === 0 ? [] : [`${count} ${count === 1 ? one : many}`];
  });
  return parts.join(', ') || 'none yet';
}
