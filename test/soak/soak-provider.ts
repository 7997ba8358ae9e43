import { R1, startProvider, type TestProvider, type TokenCall } from '../support/provider.ts';

/** A kill so long after a grant has nothing to do with its loss any more. */
const BLAME_MS = 5000;

/** A request may arrive after its sender's death. */
const ON_ITS_WAY_MS = 1000;

/** The provider, and what it remembers of each user's refreshes. */
export class SoakProvider {
  readonly provider: TestProvider;
  refreshes = 0;
  /** Since the user's last login. */
  readonly #calls = new Map<string, TokenCall[]>();

  constructor(provider: TestProvider) {
    this.provider = provider;
    provider.scriptAlways((call) => {
      this.#note(call);
      return undefined;
    });
  }

  loggedIn(user: string): void {
    this.#calls.delete(user);
  }

  /**
   * Whether this user's session was lost to a kill that nobody can repair: a process had spent the refresh token and
   * was killed before it had stored the new one, so that the next one presented it again.
   */
  wasLostToKill(user: string, killedAt: ReadonlyMap<string, number>): boolean {
    const calls = this.#calls.get(user) ?? [];
    const refused = calls.findLast(({ status }) => status === 400);
    const token = refused?.params.refresh_token;
    return calls.some((call) => {
      if (call === refused || call.params.refresh_token !== token) return false;
      const killed = killedAt.get(String(call.headers['x-process'])) ?? 0;
      return killed > call.at - ON_ITS_WAY_MS && killed < call.at + BLAME_MS;
    });
  }

  history(user: string, killedAt: ReadonlyMap<string, number>): string {
    const now = Date.now();
    const calls = (this.#calls.get(user) ?? []).slice(-8).map(({ params, headers, status, answer, at }) => {
      const life = String(headers['x-process']);
      const killed = killedAt.has(life) ? ` (killed ${now - (killedAt.get(life) ?? 0)} ms ago)` : '';
      const [spent, got] = [params.refresh_token, answer?.refresh_token].map((token) =>
        String(token).slice(0, 5),
      );
      return `  ${now - at} ms ago ${life}${killed}: ${spent} → ${status} ${answer?.error ?? got} for ${params.scope}`;
    });
    return calls.join('\n');
  }

  /** What is known is learned, and what is not needed any more forgotten. */
  forget(): void {
    this.provider.knownSecrets();
    this.provider.clearCalls();
  }

  #note(call: TokenCall): void {
    if (call.params.grant_type !== 'refresh_token') return;
    this.refreshes += 1;
    const user = this.provider.storage.get(`RefreshToken:${call.params.refresh_token}`)?.accountId;
    if (user === undefined) return;
    const calls = this.#calls.get(user) ?? [];
    calls.push(call);
    if (calls.length > 50) calls.shift();
    this.#calls.set(user, calls);
  }
}

/** Strict with refresh tokens unless there is a grace window; access tokens for `R1` say in themselves whose they are. */
export async function startSoakProvider(lifetime: number, graceMs: number): Promise<SoakProvider> {
  const scopes = 'a b c x y z';
  const provider = await startProvider({
    accessTokenTtl: lifetime,
    graceMs,
    resources: { [R1]: { scopes, accessTokenTtl: lifetime, format: 'jwt' } },
  });
  return new SoakProvider(provider);
}
