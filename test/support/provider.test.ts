import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import * as client from 'openid-client';
import { Browser } from './browser.ts';
import { authorize, openidClient, refresh, signIn } from './client.ts';
import { R1, R2, startProvider, type TestProvider } from './provider.ts';
import { restoreTime, travel } from './time.ts';

let provider: TestProvider;
let config: client.Configuration;

beforeAll(async () => {
  provider = await startProvider();
  config = await openidClient(provider);
});
beforeEach(() => provider.clearCalls());
afterEach(restoreTime);
afterAll(() => provider.close());

function userinfo(accessToken: string): Promise<number> {
  const headers = { authorization: `Bearer ${accessToken}` };
  return fetch(`${provider.issuer}/me`, { headers }).then(({ status }) => status);
}

test('a browser signs in, and a refresh rotates', async () => {
  const first = await signIn(config);
  expect(first).toMatchObject({ expires_in: 3600, scope: 'openid profile a b c' });
  expect(first.claims()).toMatchObject({ sub: 'alice', name: 'Alice' });
  const { ok: second } = await refresh(config, first.refresh_token, { scope: 'b' });
  expect(second).toMatchObject({ scope: 'b' });
  expect(second?.refresh_token).not.toBe(first.refresh_token);
  expect(provider.refreshCalls).toMatchObject([
    { params: { scope: 'b' }, status: 200, answer: { scope: 'b' } },
  ]);
});

test('reuse of an old refresh token revokes the whole family', async () => {
  const first = await signIn(config);
  const { ok: second } = await refresh(config, first.refresh_token);
  expect(await userinfo(second!.access_token)).toBe(200);
  expect(await refresh(config, first.refresh_token)).toEqual({ error: 'invalid_grant' });
  expect(await refresh(config, second!.refresh_token)).toEqual({ error: 'invalid_grant' });
  expect(await userinfo(second!.access_token)).toBe(401);
});

test('two uses at the same moment are reuse too', async () => {
  const { refresh_token } = await signIn(config);
  const answers = await Promise.all([refresh(config, refresh_token), refresh(config, refresh_token)]);
  expect(answers.filter(({ ok }) => ok)).toHaveLength(1);
  const newest = answers.find(({ ok }) => ok)?.ok?.refresh_token;
  expect(await refresh(config, newest)).toEqual({ error: 'invalid_grant' });
});

test('one user’s reuse leaves the others signed in', async () => {
  const [alice, bob] = [
    await signIn(config),
    await signIn(config, { browser: new Browser({ account: 'bob' }) }),
  ];
  await refresh(config, alice.refresh_token);
  await refresh(config, alice.refresh_token);
  expect(await refresh(config, bob.refresh_token)).toHaveProperty('ok.access_token');
});

test('without rotation the refresh token stays', async () => {
  provider.settings.rotate = false;
  const { refresh_token } = await signIn(config);
  expect(await refresh(config, refresh_token)).toHaveProperty('ok.refresh_token', refresh_token);
  expect(await refresh(config, refresh_token)).toHaveProperty('ok.refresh_token', refresh_token);
  provider.settings.rotate = true;
});

test('inside the grace window the same request gets the same answer, another scope its own', async () => {
  provider.settings.graceMs = 10_000;
  const { refresh_token } = await signIn(config);
  const [first, second] = await Promise.all([refresh(config, refresh_token), refresh(config, refresh_token)]);
  expect(first.ok).toHaveProperty('access_token');
  expect(second.ok).toEqual(first.ok);
  const others = await Promise.all(['a', 'b'].map((scope) => refresh(config, refresh_token, { scope })));
  expect(others.map(({ ok }) => ok?.scope)).toEqual(['a', 'b']);
  expect(await refresh(config, first.ok?.refresh_token)).toHaveProperty('ok.access_token');
  travel(11);
  expect(await refresh(config, refresh_token)).toEqual({ error: 'invalid_grant' });
  expect(await refresh(config, others[1]?.ok?.refresh_token)).toEqual({ error: 'invalid_grant' });
  provider.settings.graceMs = 0;
});

test('one refresh token gives tokens for each resource that the login asked for', async () => {
  const params: [string, string][] = [
    ['resource', R1],
    ['resource', R2],
    ['scope', 'openid read write'],
  ];
  const first = await signIn(config, { params });
  const { ok: one } = await refresh(config, first.refresh_token, { resource: R1, scope: 'read' });
  const { ok: two } = await refresh(config, one?.refresh_token, { resource: R2 });
  const audiences = [one, two].map(
    async (set) => (await client.tokenIntrospection(config, set!.access_token)).aud,
  );
  expect(await Promise.all(audiences)).toEqual([R1, R2]);
  expect([one?.scope, two?.scope]).toEqual(['read', 'read write']);
  expect(await refresh(config, two?.refresh_token, { resource: 'https://r3.example' })).toEqual({
    error: 'invalid_target',
  });
});

test('a resource can give JWTs, and tokens of its own lifetime', async () => {
  const api = 'https://api.example';
  provider.settings.resources[api] = { scopes: 'read', format: 'jwt', accessTokenTtl: 60 };
  const answer = await signIn(config, { params: { resource: api, scope: 'openid read' } });
  const { ok } = await refresh(config, answer.refresh_token, { resource: api, scope: 'read' });
  expect(ok).toMatchObject({ expires_in: 60, scope: 'read' });
  const claims = JSON.parse(Buffer.from(ok!.access_token.split('.')[1]!, 'base64url').toString());
  expect(claims).toMatchObject({ aud: api, sub: 'alice', scope: 'read', iss: provider.issuer });
});

test('time travel expires tokens, in the lifetimes set at that moment', async () => {
  provider.accessTokenTtl = 60;
  const { access_token, refresh_token, expires_in } = await signIn(config);
  provider.accessTokenTtl = 3600;
  expect(expires_in).toBe(60);
  travel(55);
  expect(await userinfo(access_token)).toBe(200);
  travel(6);
  expect(await userinfo(access_token)).toBe(401);
  const { ok } = await refresh(config, refresh_token);
  travel(15 * 24 * 3600);
  expect(await refresh(config, ok?.refresh_token)).toEqual({ error: 'invalid_grant' });
});

test('stopped: connections are refused; started again: same port, same tokens', async () => {
  const { refresh_token } = await signIn(config);
  const { port } = provider;
  await provider.stop();
  expect(await refresh(config, refresh_token)).toEqual({ error: 'ECONNREFUSED' });
  await provider.restart();
  expect(provider.port).toBe(port);
  expect(await refresh(config, refresh_token)).toHaveProperty('ok.access_token');
});

test('new keys: tokens live on, and ID tokens are signed by the new key', async () => {
  const { refresh_token } = await signIn(config);
  const before = provider.keys[0]?.kid;
  await provider.rotateKeys();
  const { ok } = await refresh(config, refresh_token);
  const { kid } = JSON.parse(Buffer.from(ok!.id_token!.split('.')[0]!, 'base64url').toString());
  expect(kid).toBe(provider.keys[0]?.kid);
  expect(kid).not.toBe(before);
});

test('who signs in: a browser’s account, nextLogin, login_hint, alice', async () => {
  const subject = async (options = {}) => (await signIn(config, options)).claims()?.sub;
  const hinted = { params: { login_hint: 'carol' } };
  expect(await subject(hinted)).toBe('carol');
  provider.nextLogin = 'bob';
  expect(await subject(hinted)).toBe('bob');
  const browser = new Browser({ account: 'dave' });
  expect(await subject({ ...hinted, browser })).toBe('dave');
  provider.nextLogin = undefined;
  const same = new Browser();
  expect(await subject({ browser: same })).toBe('alice');
  provider.nextLogin = 'bob';
  expect(await subject({ browser: same })).toBe('bob');
  provider.nextLogin = undefined;
});

test('consent: asked and given, asked and denied, given in part', async () => {
  provider.settings.consent = 'ask';
  expect(await signIn(config)).toMatchObject({ scope: 'openid profile a b c' });
  const { url } = await authorize(config, { browser: new Browser({ consent: 'deny' }) });
  expect(url.searchParams.get('error')).toBe('access_denied');
  provider.settings.consent = 'auto';
  provider.settings.denyScopes.add('b');
  expect(await signIn(config)).toMatchObject({ scope: 'openid profile a c' });
  provider.settings.denyScopes.clear();
});

test('step-up, prompt and max_age', async () => {
  const browser = new Browser();
  expect((await signIn(config, { browser })).claims()).toMatchObject({ acr: 'pwd' });
  expect((await signIn(config, { browser, params: { acr_values: 'mfa' } })).claims()).toMatchObject({
    acr: 'mfa',
  });
  const first = (await signIn(config, { browser, params: { max_age: '100' } })).claims()?.auth_time;
  travel(120);
  const later = (await signIn(config, { browser, params: { max_age: '100' } })).claims()?.auth_time;
  expect(later).toBeGreaterThanOrEqual(first! + 120);
  const { url } = await authorize(config, { params: { prompt: 'none' } });
  expect(url.searchParams.get('error')).toBe('login_required');
});
