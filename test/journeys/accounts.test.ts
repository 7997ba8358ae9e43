import { afterEach, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import type { LoginOptions } from 'express-oidc-tokens';
import type { AppOptions } from '../support/app.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import type { ProviderOptions } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import {
  closeAll,
  openApp,
  openBrowser,
  openProvider,
  sessionId,
  signedIn,
  silent,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

function routes(app: Express): void {
  app.get('/accounts', async (req, res) => void res.json(await req.oidc.getAccounts()));
  app.get('/put', (req, res) => {
    Object.assign(req.session, { cart: 'apples' });
    res.end();
  });
  app.get('/remove', async (req, res) => {
    await req.oidc.removeAccount();
    const isOut =
      !req.oidc.isAuthenticated() && req.oidc.user === undefined && req.oidc.account === undefined;
    res.json({ isOut, data: { ...req.session, cookie: undefined } });
  });
  app.get('/go', async (req, res) => {
    await res.oidc.login(JSON.parse(String(req.query.options)) as LoginOptions);
  });
}

async function open({
  provider: settings,
  app: options,
}: {
  provider?: ProviderOptions;
  app?: AppOptions;
} = {}) {
  const provider = await openProvider(settings);
  const app = await openApp(provider, { routes, ...options });
  const browser = await signedIn(app, { account: 'alice' });
  const json = async (path: string) => JSON.parse((await browser.request(app.url + path)).text);
  return { provider, app, browser, json };
}

describe('accounts', () => {
  test('getAccounts(): none or one', async () => {
    const { app, provider, json } = await open();
    expect(await json('/accounts')).toEqual([
      { issuer: provider.issuer, subject: 'alice', name: 'Alice', username: 'alice' },
    ]);
    expect((await openBrowser().request(`${app.url}/accounts`)).text).toBe('[]');
  });

  test('removeAccount(): signed out, tokens gone and revoked, the app’s data stays', async () => {
    const { app, browser, provider, json } = await open();
    const revoked = String(provider.tokenCalls.at(-1)?.answer?.refresh_token);
    await json('/put').catch(() => {});
    const id = sessionId(browser, app);
    expect(await json('/remove')).toMatchObject({ isOut: true, data: { cart: 'apples' } });
    expect(await whoIs(browser, app)).toBe('anonymous');
    expect(sessionId(browser, app)).toBe(id);
    expect(await json('/accounts')).toEqual([]);
    expect(await silent(browser, app)).toMatchObject({ reason: 'signed_out' });
    await expect(app.handle.forSession(String(id)).getTokenSilent()).rejects.toMatchObject({
      reason: 'signed_out',
    });
    for (let turn = 0; turn < 100 && provider.revocations.length === 0; turn += 1) await json('/accounts');
    expect(provider.revocations).toMatchObject([{ token: revoked }]);
    expect(await provider.oidc.RefreshToken.find(revoked)).toBeUndefined();
    expectNoSecrets(app.logText(), provider);
  });

  test('removeAccount() without anybody signed in does nothing; signing in again works, data and all', async () => {
    const { app, browser, json } = await open();
    await json('/put').catch(() => {});
    await json('/remove');
    expect(await json('/remove')).toMatchObject({ isOut: true });
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect(await json('/remove')).toMatchObject({ data: { cart: 'apples' } });
  });

  test('removeAccount() with the provider down still signs out', async () => {
    const { app, browser, provider, json } = await open();
    await provider.stop();
    expect(await json('/remove')).toMatchObject({ isOut: true });
    expect(await whoIs(browser, app)).toBe('anonymous');
  });
});

describe('res.oidc.login()', () => {
  const go = (options: object) => `/go?options=${encodeURIComponent(JSON.stringify(options))}`;

  test('with prompt and loginHint goes to the provider, whatever is in the cache', async () => {
    const { app, browser, provider } = await open();
    provider.clearCalls();
    const options = {
      prompt: 'login',
      loginHint: 'bob@example.com',
      scopes: 'a',
      acrValues: ['mfa', 'phr'],
      maxAge: 5,
      claims: { id_token: {} },
      returnTo: '/user',
    };
    const page = await browser.navigate(app.url + go(options));
    expect(page).toMatchObject({ status: 200, url: `${app.url}/user` });
    const [sent] = provider.authorizations;
    expect(sent).toMatchObject({
      prompt: 'login',
      login_hint: 'bob@example.com',
      acr_values: 'mfa phr',
      max_age: '5',
      claims: '{"id_token":{}}',
    });
    expect(String(sent?.scope).split(' ')).toContain('a');
    expect(provider.tokenCalls.map(({ params }) => params.grant_type)).toEqual(['authorization_code']);
    expect(JSON.parse(page.text)).toMatchObject({ sub: 'alice', acr: 'mfa' });
  });

  test('without options it sends neither', async () => {
    const { app, browser, provider } = await open();
    provider.clearCalls();
    await browser.navigate(app.url + go({ returnTo: '/' }));
    expect(provider.authorizations).toHaveLength(1);
    for (const name of ['prompt', 'login_hint', 'max_age', 'acr_values', 'claims'])
      expect(provider.authorizations[0]).not.toHaveProperty(name);
  });

  test.each([
    { prompt: 1 },
    { prompt: '' },
    { loginHint: {} },
    { audience: 1 },
    { login_hint: 'x' },
    { maxAge: '5' },
    { scopes: 1 },
    [],
  ])('%j is a TypeError, and nobody is sent away', async (options) => {
    const { app, browser, provider } = await open();
    provider.clearCalls();
    expect((await browser.request(app.url + go(options))).status).toBe(500);
    expect(provider.authorizations).toEqual([]);
  });
});

describe('public clients', () => {
  const client = {
    client_id: 'public-app',
    token_endpoint_auth_method: 'none' as const,
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code' as const],
  };

  test.each([{ clientAuth: 'none' as const }, {}])(
    'no secret, PKCE only: login, refresh, logout (%j)',
    async (named) => {
      const provider = await openProvider({ clients: [client] });
      const auth = { issuer: provider.issuer, clientId: client.client_id, ...named };
      const app = await openApp(provider, { auth: { ...auth, clientSecret: undefined } as never, routes });
      const browser = await signedIn(app, { account: 'alice' });
      travel(3601);
      expect(await silent(browser, app)).toMatchObject({ source: 'provider' });
      expect(provider.tokenCalls.map(({ params }) => params.grant_type)).toEqual([
        'authorization_code',
        'refresh_token',
      ]);
      for (const { params, headers } of provider.tokenCalls) {
        expect(params.client_id).toBe(client.client_id);
        expect(params).not.toHaveProperty('client_secret');
        expect(params).not.toHaveProperty('client_assertion');
        expect(headers.authorization).toBeUndefined();
      }
      expect(provider.tokenCalls[0]?.params.code_verifier).toEqual(expect.any(String));
      expect(provider.authorizations[0]).toMatchObject({ code_challenge_method: 'S256' });
      await browser.navigate(`${app.url}/logout`);
      expect(await whoIs(browser, app)).toBe('anonymous');
      expectNoSecrets(app.logText(), provider);
    },
  );

  test("clientAuth: 'none' sends no secret even where one is configured, or says that both contradict", async () => {
    const provider = await openProvider({ clients: [client] });
    const both = {
      clientId: client.client_id,
      clientSecret: 'left-over-secret',
      clientAuth: 'none' as const,
    };
    const app = await openApp(provider, { auth: { issuer: provider.issuer, ...both } });
    await signedIn(app);
    expect(JSON.stringify(provider.tokenCalls)).not.toContain('left-over-secret');
  });
});
