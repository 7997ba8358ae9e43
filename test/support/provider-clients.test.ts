import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import * as client from 'openid-client';
import { Browser } from './browser.ts';
import { authorize, CALLBACK, openidClient, signIn } from './client.ts';
import { R1, startProvider, type TestProvider } from './provider.ts';

let provider: TestProvider;
let config: client.Configuration;

beforeAll(async () => {
  provider = await startProvider();
  config = await openidClient(provider);
});
beforeEach(() => provider.clearCalls());
afterAll(() => provider.close());

function claims(jwt: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
}

test('response_mode=form_post arrives as a POST with the code', async () => {
  const browser = new Browser();
  const start = client.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    response_mode: 'form_post',
    scope: 'openid',
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: 'S256',
  });
  const { held } = await browser.navigate(start, { stopAt: ({ port }) => port === '9' });
  expect(held).toMatchObject({ method: 'POST', body: { code: expect.any(String), iss: provider.issuer } });
  browser.close();
});

test('signing out at the provider: back at the app, its session gone, back-channel logout sent', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  provider.setBackchannelLogout(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  const browser = new Browser();
  const { id_token, ...answer } = await signIn(config, { browser });
  const logoutToken = once(server, 'request').then(async ([req, res]) => {
    const token = new URLSearchParams(await text(req)).get('logout_token');
    res.end();
    return claims(token ?? '');
  });
  const endSession = client.buildEndSessionUrl(config, {
    id_token_hint: id_token!,
    post_logout_redirect_uri: 'http://127.0.0.1:9/bye',
  });
  const page = await browser.navigate(endSession, { stopAt: ({ port }) => port === '9' });
  expect(page.url).toBe('http://127.0.0.1:9/bye');
  expect(await logoutToken).toMatchObject({ sub: 'alice', sid: claims(id_token!).sid });
  const silent = await authorize(config, { browser, params: { prompt: 'none' } });
  expect(silent.url.searchParams.get('error')).toBe('login_required');
  // What `offline_access` stands for: the refresh token outlives the provider's session.
  expect(await client.refreshTokenGrant(config, answer.refresh_token!)).toHaveProperty('access_token');
  browser.close();
  server.close();
  server.closeAllConnections();
});

test.each(['opaque', 'jwt'] as const)(
  'a web API acts on behalf of the sender of a token (%s)',
  async (format) => {
    const own = 'https://own.example';
    provider.settings.resources[own] = { scopes: 'read', format };
    provider.settings.resources[R1] = { scopes: 'read', format: 'jwt', accessTokenTtl: 60 };
    const browser = new Browser({ account: 'bob' });
    const { refresh_token } = await signIn(config, {
      browser,
      params: { resource: own, scope: 'openid read' },
    });
    const incoming = await client.refreshTokenGrant(config, refresh_token!, { resource: own, scope: 'read' });
    const { clientId, clientSecret } = provider.api;
    const api = await client.discovery(new URL(provider.issuer), clientId, clientSecret, undefined, {
      execute: [client.allowInsecureRequests],
    });
    // oidc-provider introspects what it stores: no JWTs.
    const introspection = client.tokenIntrospection(api, incoming.access_token);
    if (format === 'opaque')
      expect(await introspection).toMatchObject({ active: true, sub: 'bob', aud: own });
    else await expect(introspection).rejects.toMatchObject({ error: 'unsupported_token_type' });
    const exchanged = await client.genericGrantRequest(
      api,
      'urn:ietf:params:oauth:grant-type:token-exchange',
      {
        subject_token: incoming.access_token,
        subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        resource: R1,
        scope: 'read',
      },
    );
    expect(exchanged).toMatchObject({ expires_in: 60, scope: 'read' });
    expect(claims(exchanged.access_token)).toMatchObject({ sub: 'bob', aud: R1, client_id: clientId });
    const asserted = await client.genericGrantRequest(api, 'urn:ietf:params:oauth:grant-type:jwt-bearer', {
      assertion: incoming.access_token,
      requested_token_use: 'on_behalf_of',
      scope: 'read',
    });
    expect(asserted).toHaveProperty('access_token');
    const junk = client.genericGrantRequest(api, 'urn:ietf:params:oauth:grant-type:jwt-bearer', {
      assertion: 'junk',
      requested_token_use: 'on_behalf_of',
    });
    await expect(junk).rejects.toMatchObject({ error: 'invalid_grant' });
  },
);
