import { describe, expect, test } from '@jest/globals';
import { startApp } from '../support/app.ts';
import { browser, metadata, provider, safe, stage } from './attacks-stage.ts';
import { EVIL, expectSafe, listen, type RecordedApp, startRecordedApp, whoIs } from './attacks-support.ts';

// Metadata of a provider, or of somebody between it and the app, that means harm.

const hosts = (sent: RecordedApp['sent']) => [...new Set(sent.map(({ url }) => new URL(url).host))];

describe('discovery', () => {
  test.each<[string, () => unknown]>([
    ['another issuer', () => EVIL],
    ['no issuer', () => undefined],
    ['an issuer that is no text', () => [provider.issuer]],
    ['markup', () => '<script>alert(1)</script>'],
  ])('%s: no login, and the log says why', async (_name, issuer) => {
    metadata({ issuer: issuer() });
    const page = await browser.login(stage.app);
    safe(page, 500, 503);
    expect(page.hops).toHaveLength(1);
    expect(provider.authorizations).toEqual([]);
    metadata({});
    await browser.login(stage.app);
    expect(await whoIs(browser, stage.app)).toBe('signed in as alice');
  });

  test('another issuer is told to whoever set the app up, not to users', async () => {
    metadata({ issuer: EVIL });
    const page = await browser.login(stage.app);
    expect(page.text).not.toContain('evil.example');
    expect(stage.app.logText()).toMatch(
      /calls itself http:\/\/evil\.example, but OIDC_ISSUER .* is http:\/\/127/,
    );
  });

  test.each<[string, unknown]>([
    ['plain http', `${EVIL}/auth`],
    ['javascript:', 'javascript:alert(1)'],
    ['data:', 'data:text/html,x'],
    ['no URL', 'auth'],
    ['no text', 5],
    ['empty', ''],
    ['missing', undefined],
  ])('an authorization endpoint: %s', async (_name, authorization_endpoint) => {
    metadata({ authorization_endpoint });
    const page = await browser.login(stage.app);
    safe(page, 500, 503);
    expect(page.headers.location).toBeUndefined();
  });

  test.each<[string, unknown]>([
    ['plain http', `${EVIL}/x`],
    ['file:', 'file:///etc/passwd'],
    ['javascript:', 'javascript:alert(1)'],
    ['no URL', 'x'],
    ['no text', { url: 'x' }],
    ['missing', undefined],
  ])('a token endpoint, keys: %s', async (_name, url) => {
    for (const name of ['token_endpoint', 'jwks_uri']) {
      metadata({ [name]: url });
      const { app: own, sent } = await startRecordedApp(provider);
      const page = await browser.login(own);
      expectSafe(page, { app: own, provider, only: [500, 503] });
      expect(await whoIs(browser, own)).toBe('anonymous');
      expect(hosts(sent)).toEqual([new URL(provider.issuer).host]);
      await own.close();
    }
  });

  test.each(['plain http', 'javascript:'])(
    'the other endpoints: %s: tokens are not sent there',
    async (kind) => {
      const url = kind === 'plain http' ? `${EVIL}/x` : 'javascript:alert(1)//';
      metadata({ userinfo_endpoint: url, revocation_endpoint: url, end_session_endpoint: url });
      await browser.login(stage.app);
      expect(await whoIs(browser, stage.app)).toBe('signed in as alice');
      const userinfo = await browser.fetchJson(`${stage.app.url}/userinfo`);
      expect(userinfo.json).toEqual({ failed: 'TokenEndpointError' });
      const page = await browser.navigate(`${stage.app.url}/logout`);
      expect([page.url, page.text]).toEqual([`${stage.app.url}/`, 'anonymous']);
      expect(page.hops.map(({ url: hop }) => new URL(hop).host)).toEqual(
        Array(2).fill(new URL(stage.app.url).host),
      );
      expect(hosts(stage.sent)).toEqual([new URL(provider.issuer).host]);
      expect(stage.app.logText()).not.toContain('TypeError');
    },
  );

  test.each<[string, unknown]>([
    ['null', null],
    ['a number', 5],
    ['an object', {}],
  ])('lists that are %s: as if left out', async (_name, list) => {
    metadata({
      scopes_supported: list,
      response_modes_supported: list,
      token_endpoint_auth_methods_supported: list,
      grant_types_supported: list,
      code_challenge_methods_supported: list,
      id_token_signing_alg_values_supported: list,
    });
    await browser.login(stage.app, '/user');
    expect(await whoIs(browser, stage.app)).toBe('signed in as alice');
    expect(provider.authorizations.at(-1)?.scope).toContain('offline_access');
    expect(provider.tokenCalls.at(-1)?.headers.authorization).toMatch(/^Basic /);
    expect((await browser.fetchJson(`${stage.app.url}/token?force`)).json).toMatchObject({
      reason: 'forced',
    });
  });

  test('endpoints that are null: as if left out, and nothing to warn about', async () => {
    metadata({ revocation_endpoint: null, end_session_endpoint: null, mtls_endpoint_aliases: null });
    await browser.login(stage.app);
    const warnings = stage.app.logs.length;
    expect((await browser.navigate(`${stage.app.url}/logout`)).text).toBe('anonymous');
    expect(stage.app.logs.slice(warnings)).toEqual([]);
  });

  test('no metadata can take PKCE, state or nonce away', async () => {
    metadata({
      code_challenge_methods_supported: ['plain'],
      response_types_supported: ['token'],
      response_modes_supported: ['fragment'],
    });
    await browser.login(stage.app);
    expect(await whoIs(browser, stage.app)).toBe('signed in as alice');
    expect(provider.authorizations.at(-1)).toMatchObject({
      response_type: 'code',
      code_challenge_method: 'S256',
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      state: expect.stringMatching(/^.{43,}$/),
      nonce: expect.stringMatching(/^.{43,}$/),
    });
    expect(provider.tokenCalls.at(-1)?.params.code_verifier).toMatch(/^[\w-]{43,}$/);
  });
});

test('a provider on https sends the app, its secret and its users to nothing that listens on this machine', async () => {
  const visits: string[] = [];
  const internal = await listen((req, res) => {
    visits.push(String(req.url));
    res.end('{}');
  });
  const issuer = 'https://idp.example';
  const document = {
    issuer,
    authorization_endpoint: `${issuer}/auth`,
    end_session_endpoint: `${internal.url}/end`,
  };
  const endpoints = { token_endpoint: `${internal.url}/token`, jwks_uri: `${internal.url}/jwks` };
  let changes = {};
  const { client } = provider;
  const start = () =>
    startApp({
      provider: { issuer, client },
      auth: {
        fetch: async (url, init) =>
          url.startsWith(issuer)
            ? Response.json({ ...document, ...endpoints, ...changes })
            : fetch(url, init),
      },
    });
  const app = await start();
  const begun = await browser.request(`${app.url}/login`);
  const state = String(new URL(String(begun.headers.location)).searchParams.get('state'));
  const answer = new URLSearchParams({ state, code: 'c', iss: issuer });
  safe(await browser.request(`${app.url}/callback?${answer}`, { headers: { accept: 'text/html' } }), 500);
  expect(app.logText()).toContain('plain http');
  const out = await browser.request(`${app.url}/logout`, { method: 'POST' });
  expect(out.headers.location).toBe('/');
  await app.close();
  changes = { authorization_endpoint: `${internal.url}/auth` };
  const other = await start();
  safe(await browser.request(`${other.url}/login`, { headers: { accept: 'text/html' } }), 500);
  await other.close();
  expect(visits).toEqual([]);
  internal.close();
});
