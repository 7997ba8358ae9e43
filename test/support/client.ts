import * as client from 'openid-client';
import { Browser } from './browser.ts';
import type { TestProvider } from './provider.ts';

/** Nobody listens there: the browser stops before it. */
export const CALLBACK = 'http://127.0.0.1:9/callback';

/** openid-client itself as the client of a provider, where a test is about the provider and not about our package. */
export async function openidClient(provider: TestProvider): Promise<client.Configuration> {
  const { clientId, clientSecret } = provider.client;
  const execute = [client.allowInsecureRequests];
  return client.discovery(new URL(provider.issuer), clientId, clientSecret, undefined, { execute });
}

export interface LoginOptions {
  /** More parameters of the authorization request, or others. */
  params?: Record<string, string> | [string, string][];
  browser?: Browser;
}

/** Sends a browser to the provider; the callback URL it came back with, and what redeems its code. */
export async function authorize(
  config: client.Configuration,
  { params = {}, browser = new Browser() }: LoginOptions = {},
): Promise<{ url: URL; checks: client.AuthorizationCodeGrantChecks }> {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const expectedState = client.randomState();
  const start = client.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    scope: 'openid profile offline_access a b c',
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
  });
  const given = new URLSearchParams(params);
  for (const name of new Set(given.keys())) start.searchParams.delete(name);
  for (const [name, value] of given) start.searchParams.append(name, value);
  const page = await browser.navigate(start, { stopAt: ({ port }) => port === '9' });
  if (!page.held) throw new Error(`${page.status} at ${page.url}: ${page.text}`);
  return { url: new URL(page.url), checks: { pkceCodeVerifier, expectedState } };
}

/** Signs in; the answer of the code redemption. */
export async function signIn(
  config: client.Configuration,
  options: LoginOptions = {},
): Promise<client.TokenEndpointResponse & client.TokenEndpointResponseHelpers> {
  const { url, checks } = await authorize(config, options);
  return client.authorizationCodeGrant(config, url, checks);
}

/** The last code along the causes: openid-client wraps what `fetch` throws (in Jest's sandbox once more than outside). */
function innermostCode(error: unknown): string {
  let found = String(error);
  for (
    let next = error;
    typeof next === 'object' && next !== null;
    next = (next as { cause?: unknown }).cause
  ) {
    const { code } = next as { code?: unknown };
    if (typeof code === 'string') found = code;
  }
  return found;
}

/** Refreshes; the answer as a plain object, or the OAuth error, or what broke (`UND_ERR_…`, `ECONNREFUSED`). */
export async function refresh(
  config: client.Configuration,
  refreshToken: string | undefined,
  params: Record<string, string> = {},
): Promise<{ ok?: client.TokenEndpointResponse; error?: string }> {
  try {
    return { ok: await client.refreshTokenGrant(config, refreshToken ?? '', params) };
  } catch (error) {
    if (error instanceof client.ResponseBodyError) return { error: error.error };
    return { error: innermostCode(error) };
  }
}
