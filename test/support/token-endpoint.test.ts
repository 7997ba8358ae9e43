import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import * as client from 'openid-client';
import { authorize, openidClient, refresh, signIn } from './client.ts';
import { startProvider, type TestProvider, type TokenFault, unsignedToken } from './provider.ts';

let provider: TestProvider;
let config: client.Configuration;
let token: string | undefined;

beforeAll(async () => {
  provider = await startProvider();
  config = await openidClient(provider);
});
beforeEach(async () => {
  token = (await signIn(config)).refresh_token;
  provider.clearCalls();
});
afterEach(() => {
  provider.scriptAlways(undefined);
  provider.tamper = {};
  provider.down = {};
});
afterAll(() => provider.close());

test.each<[name: string, fault: TokenFault, error: string, tokenAfterwards: 'alive' | 'spent']>([
  ['an error', { status: 400, json: { error: 'invalid_scope' } }, 'invalid_scope', 'alive'],
  ['HTML', { status: 503, body: '<h1>down</h1>' }, 'OAUTH_RESPONSE_IS_NOT_CONFORM', 'alive'],
  ['reset before', { reset: 'before' }, 'ECONNRESET', 'alive'],
  ['reset after', { reset: 'after' }, 'ECONNRESET', 'spent'],
  ['truncated JSON', { truncate: true }, 'OAUTH_PARSE_ERROR', 'spent'],
  ['truncated connection', { truncate: 'connection' }, 'UND_ERR_SOCKET', 'spent'],
  ['empty body', { mutate: () => '' }, 'OAUTH_PARSE_ERROR', 'spent'],
])('%s', async (_name, fault, error, tokenAfterwards) => {
  provider.script(fault);
  expect(await refresh(config, token)).toEqual({ error: expect.stringContaining(error) });
  const again = await refresh(config, token);
  if (tokenAfterwards === 'alive') expect(again).toHaveProperty('ok.refresh_token');
  else expect(again).toEqual({ error: 'invalid_grant' });
});

test('mutate changes the answer, and what was recorded', async () => {
  provider.script({ mutate: ({ refresh_token: _, ...rest }) => ({ ...rest, expires_in: 7 }) });
  const { ok } = await refresh(config, token);
  expect(ok).toMatchObject({ expires_in: 7 });
  expect(ok).not.toHaveProperty('refresh_token');
  expect(provider.refreshCalls[0]?.answer).toEqual(expect.objectContaining({ expires_in: 7 }));
});

test('hang: nothing comes until the client gives up, and the token lives', async () => {
  provider.script({ hang: true });
  const aborted = new AbortController();
  const impatient = await openidClient(provider);
  impatient[client.customFetch] = (url, init) =>
    fetch(url, { ...init, signal: aborted.signal } as RequestInit);
  const pending = refresh(impatient, token);
  const [call] = await provider.whenTokenCalls(1);
  aborted.abort();
  expect(await pending).toHaveProperty('error');
  expect(call?.status).toBe(0);
  expect(await refresh(config, token)).toHaveProperty('ok.access_token');
});

test('wait holds the request back before the provider acts, waitAfter the answer', async () => {
  for (const [member, rotated] of [
    ['wait', false],
    ['waitAfter', true],
  ] as const) {
    let release = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    provider.clearCalls();
    provider.script({ [member]: gate });
    const pending = refresh(config, token);
    await provider.whenTokenCalls(1);
    // The answer of another request shows that the provider has had its turn.
    await fetch(`${provider.issuer}/jwks`);
    expect(provider.storage.get(`RefreshToken:${token}`)?.consumed !== undefined).toBe(rotated);
    release();
    token = (await pending).ok?.refresh_token;
    expect(token).toBeDefined();
  }
});

test('delayMs, functions, headers, the queue and its filter by grant, scriptAlways', async () => {
  provider.script(
    {
      grantType: 'client_credentials',
      status: 429,
      headers: { 'retry-after': '5' },
      json: { error: 'slow_down' },
    },
    (call) => (call.params.scope === 'a' ? { status: 400, json: { error: 'consent_required' } } : undefined),
    { delayMs: 50 },
  );
  expect(await refresh(config, token, { scope: 'a' })).toEqual({ error: 'consent_required' });
  const start = performance.now();
  expect(await refresh(config, token)).toHaveProperty('ok');
  expect(performance.now() - start).toBeGreaterThan(45);
  await expect(client.clientCredentialsGrant(config)).rejects.toMatchObject({ status: 429 });
  expect(await client.clientCredentialsGrant(config)).toHaveProperty('access_token');
  provider.scriptAlways({ status: 400, json: { error: 'temporarily_unavailable' } });
  expect(await refresh(config, token)).toEqual({ error: 'temporarily_unavailable' });
  expect(await refresh(config, token)).toEqual({ error: 'temporarily_unavailable' });
});

test('ID tokens on refresh: as the provider does it, never, always', async () => {
  const idToken = async (scope: string) => {
    const { ok } = await refresh(config, token, { scope });
    token = ok?.refresh_token;
    return ok?.id_token !== undefined;
  };
  expect([await idToken('openid a'), await idToken('a')]).toEqual([true, false]);
  provider.settings.idTokenOnRefresh = false;
  expect(await idToken('openid a')).toBe(false);
  provider.settings.idTokenOnRefresh = true;
  expect(await idToken('a')).toBe(true);
  provider.settings.idTokenOnRefresh = undefined;
});

test('tampering with discovery, keys and the authorization response', async () => {
  provider.tamper = {
    discovery: (document) => ({ ...document, scopes_supported: ['openid'] }),
    jwks: ({ keys }) => ({ keys: [{ kty: 'junk' }, ...keys] }),
    authorizationResponse: (url) => {
      url.searchParams.set('iss', 'https://evil.example');
      return url;
    },
  };
  expect((await openidClient(provider)).serverMetadata().scopes_supported).toEqual(['openid']);
  const jwks = (await (await fetch(`${provider.issuer}/jwks`)).json()) as { keys: unknown[] };
  expect(jwks.keys).toHaveLength(3);
  expect((await authorize(config)).url.searchParams.get('iss')).toBe('https://evil.example');
  expect([provider.discoveryCalls, provider.jwksCalls]).toEqual([1, 1]);
});

test('single endpoints down', async () => {
  provider.down = { discovery: 503, jwks: 'reset' };
  expect((await fetch(`${provider.issuer}/.well-known/openid-configuration`)).status).toBe(503);
  await expect(fetch(`${provider.issuer}/jwks`)).rejects.toThrow('fetch failed');
  expect(await refresh(config, token)).toHaveProperty('ok');
});

test('pushed authorization requests and revocation are recorded', async () => {
  const { request_uri } = await fetch(`${provider.issuer}/request`, {
    method: 'POST',
    body: new URLSearchParams({
      client_id: provider.client.clientId,
      client_secret: provider.client.clientSecret,
      redirect_uri: 'http://127.0.0.1:9/callback',
      response_type: 'code',
      scope: 'openid a',
      code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
      code_challenge_method: 'S256',
    }),
  }).then((response) => response.json() as Promise<{ request_uri: string }>);
  const { url } = await authorize(config, { params: { request_uri } });
  expect(url.searchParams.get('code')).toBeTruthy();
  expect(provider.pushed).toMatchObject([{ scope: 'openid a' }]);
  expect(provider.authorizations).toMatchObject([{ request_uri }]);
  await client.tokenRevocation(config, token!);
  expect(provider.revocations).toMatchObject([{ token }]);
  expect(await refresh(config, token)).toEqual({ error: 'invalid_grant' });
});

test('hostile ID tokens', async () => {
  const part = (jwt: string, index: number) =>
    JSON.parse(Buffer.from(jwt.split('.')[index] ?? '', 'base64url').toString());
  const usual = await provider.signIdToken({ nonce: 'n', aud: undefined });
  expect(part(usual, 1)).toMatchObject({ iss: provider.issuer, sub: 'alice', nonce: 'n' });
  expect(part(usual, 1)).not.toHaveProperty('aud');
  expect(part(usual, 0)).toEqual({ alg: 'RS256', kid: provider.keys[0]?.kid });
  const mac = await provider.signIdToken(
    {},
    { alg: 'HS256', key: new TextEncoder().encode('s'.repeat(32)), kid: 'x' },
  );
  expect(part(mac, 0)).toEqual({ alg: 'HS256', kid: 'x' });
  expect(part(await provider.signIdToken({}, { alg: 'ES256' }), 0)).toMatchObject({ alg: 'ES256' });
  expect(part(await provider.signIdToken({}, { alg: 'none' }), 0)).toEqual({ alg: 'none' });
  expect(unsignedToken({ sub: 'x' })).toMatch(/\.$/);
  expect(part(await provider.signLogoutToken({ sid: '1' }), 0)).toMatchObject({ typ: 'logout+jwt' });
});
