import { expect, test } from '@jest/globals';
import type { RequestHandler } from 'express';
import { InteractionRequiredError } from 'express-oidc-tokens';
import { collectConsole, expectNoSecrets } from '../support/leaks.ts';
import { R1, type TokenFault } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import {
  asked,
  closing,
  fetchJson,
  LOGIN_AB,
  leave,
  loginRefreshToken,
  open,
  start,
  words,
} from './challenge-setup.ts';

test('A17: invalid_scope on refresh → one challenge; still missing → ScopeNotGrantedError 403, no second redirect, until a new login', async () => {
  const journey = await start({
    app: { auth: { scopes: LOGIN_AB } },
    provider: { denyScopes: new Set(['c']) },
  });
  const { provider, app, browser } = journey;
  provider.clearCalls();
  const page = await browser.navigate(`${app.url}/token?scope=c`);
  expect(provider.refreshCalls).toMatchObject([{ status: 400, answer: { error: 'invalid_scope' } }]);
  expect(provider.authorizations).toHaveLength(1);
  expect(words(String(provider.authorizations[0]?.scope))).toEqual(words(`${LOGIN_AB} c`));
  expect(page).toMatchObject({ status: 403, url: `${app.url}/token?scope=c` });
  expect((await fetchJson(journey, '/silent?scope=c')).json).toMatchObject({
    name: 'ScopeNotGrantedError',
    code: 'ERR_OIDC_SCOPE_NOT_GRANTED',
    status: 403,
    scopes: ['c'],
  });

  expect((await fetchJson(journey, '/token?scope=a%20c')).status).toBe(403);
  expect((await fetchJson(journey, '/token?scope=a&force')).json).toMatchObject({ reason: 'forced' });
  travel(3600);
  expect((await open(journey, '/token?scope=c')).status).toBe(403);
  expect((await open(journey, '/token?scope=a')).status).toBe(200);
  expect(provider.authorizations).toHaveLength(1);

  await browser.login(app);
  expect((await open(journey, '/token?scope=c')).status).toBe(302);
  expect(await browser.navigate(`${app.url}/token?scope=c`)).toMatchObject({ status: 403 });
  expect(provider.authorizations).toHaveLength(3);
});

test('A17: the same when the login itself asked for no other scope', async () => {
  const journey = await start({ provider: { denyScopes: new Set(['c']) } });
  const { provider, app, browser } = journey;
  expect(await browser.navigate(`${app.url}/token?scope=c`)).toMatchObject({ status: 403 });
  expect((await open(journey, '/token?scope=c')).status).toBe(403);
  expect(provider.authorizations).toHaveLength(2);
});

test('A17: the app itself asks by res.oidc.login() for what was refused: once, too', async () => {
  const denyScopes = new Set(['c']);
  const ask: RequestHandler = async (req, res) => {
    try {
      res.json(await req.getTokenSilent('c'));
    } catch (error) {
      if (!(error instanceof InteractionRequiredError)) throw error;
      await res.oidc.login({ scopes: error.scopes });
    }
  };
  const journey = await start({
    app: { auth: { scopes: LOGIN_AB }, routes: (app) => void app.get('/ask', ask) },
    provider: { denyScopes },
  });
  const { provider, app, browser } = journey;
  provider.clearCalls();
  expect(await browser.navigate(`${app.url}/ask`)).toMatchObject({ status: 403, url: `${app.url}/ask` });
  expect(provider.authorizations).toHaveLength(1);

  await browser.login(app);
  expect(await browser.navigate(`${app.url}/ask`)).toMatchObject({ status: 403 });
  expect(provider.authorizations).toHaveLength(3);
});

test('A17: invalid_scope, and the user then grants it', async () => {
  const journey = await start({ app: { auth: { scopes: LOGIN_AB } } });
  const { provider, app, browser } = journey;
  expect(await browser.navigate(`${app.url}/token?scope=c`)).toMatchObject({ status: 200 });
  travel(3600);
  expect((await fetchJson(journey, '/token?scope=c')).json).toMatchObject({ reason: 'expired' });
  expect(provider.authorizations).toHaveLength(2);
});

test('A17: the same for invalid_target', async () => {
  const resources = { api: { resource: R1, scopes: 'read' } };
  const denyScopes = new Set(['write']);
  const scopes = 'openid offline_access read';
  const journey = await start({ app: { auth: { scopes, resources } }, provider: { denyScopes } });
  const { provider, app, browser } = journey;
  provider.script({ grantType: 'refresh_token', status: 400, json: { error: 'invalid_target' } });
  const path = `/token?scope=write&resource=${R1}`;
  expect(await browser.navigate(app.url + path)).toMatchObject({ status: 403 });
  expect(provider.refreshCalls).toHaveLength(1);
  expect(provider.authorizations).toHaveLength(2);
  expect((await fetchJson(journey, `/token?scope=read&resource=${R1}`)).status).toBe(200);
});

const WRONG_CLIENT: [string, TokenFault][] = [
  ['invalid_client', { status: 401, json: { error: 'invalid_client', error_description: 'bad secret' } }],
  ['a bare 401', { status: 401, body: 'who are you?' }],
  ['unauthorized_client', { status: 400, json: { error: 'unauthorized_client' } }],
  ['unsupported_grant_type', { status: 400, json: { error: 'unsupported_grant_type' } }],
];

test.each(WRONG_CLIENT)(
  'A18: %s → a still-valid token, else 500; tokens kept, works again, no secret in any output',
  async (_name, fault) => {
    const output = collectConsole();
    closing({ close: output.restore });
    const journey = await start({ app: { auth: { scopes: LOGIN_AB } } });
    const { provider, app } = journey;
    const refreshToken = loginRefreshToken(provider);
    const { accessToken } = (await fetchJson(journey, '/token?scope=a')).json;
    provider.clearCalls();
    provider.scriptAlways(fault);

    travel(3600 - 20);
    const stale = await open(journey, '/token?scope=a');
    expect(stale.status).toBe(200);
    expect(JSON.parse(stale.text)).toMatchObject({ accessToken, stale: true, source: 'cache' });
    expect(app.logs.filter(({ level }) => level === 'warn' || level === 'error')).not.toEqual([]);

    travel(30);
    const failed = await open(journey, '/token?scope=a');
    expect(failed.status).toBe(500);
    expect(failed.headers.location).toBeUndefined();
    const silent = await fetchJson(journey, '/silent?scope=a');
    expect(silent.json).toMatchObject({
      name: 'ConfigurationError',
      code: 'ERR_OIDC_CONFIGURATION',
      status: 500,
    });

    provider.scriptAlways(undefined);
    expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({ reason: 'expired' });
    expect(provider.refreshCalls.at(-1)?.params.refresh_token).toBe(refreshToken);
    expect(provider.authorizations).toEqual([]);
    expectNoSecrets(app.logText() + output.text() + failed.text + silent.text, provider);
    expectNoSecrets(stale.text, provider, { except: ['access_token'] });
  },
);

const claimsRoute = {
  scopes: 'a',
  claims: { access_token: { acrs: { essential: true, value: 'c1' } } },
};

test('A21: claims → the cache is skipped, one call; without them the newer token is served', async () => {
  const journey = await start({
    app: {
      auth: { scopes: LOGIN_AB },
      routes: (app) =>
        void app.get('/claims', async (req, res) => void res.json(await req.getToken(claimsRoute))),
    },
  });
  const { provider } = journey;
  const before = (await fetchJson(journey, '/token?scope=a')).json;
  expect(before).toMatchObject({ source: 'cache' });
  provider.clearCalls();
  const { json } = await fetchJson(journey, '/claims');
  expect(json).toMatchObject({ source: 'provider', reason: 'claims' });
  expect(json.accessToken).not.toBe(before.accessToken);
  expect(provider.refreshCalls.map(({ params }) => params.claims)).toEqual([
    JSON.stringify(claimsRoute.claims),
  ]);
  expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({
    source: 'cache',
    accessToken: json.accessToken,
  });
  expect(provider.refreshCalls).toHaveLength(1);
});

test('A21: claims that the provider wants the user for → a challenge with the claims asked for', async () => {
  const journey = await start({
    app: {
      auth: { scopes: LOGIN_AB },
      routes: (app) =>
        void app.get('/claims', async (req, res) => void res.json(await req.getToken(claimsRoute))),
    },
  });
  journey.provider.script({ status: 400, json: { error: 'interaction_required' } });
  const left = await leave(journey, `${journey.app.url}/claims`);
  expect(asked(left).get('claims')).toBe(JSON.stringify(claimsRoute.claims));
});

test('A30: an ID token of another sub in a refresh → an error, nothing cached', async () => {
  const journey = await start({ app: { auth: { scopes: LOGIN_AB } } });
  const { provider, app } = journey;
  const id_token = await provider.signIdToken({ sub: 'mallory' });
  const foreign = { access_token: 'mallorys-token', refresh_token: 'mallorys-refresh-token' };
  provider.script({ mutate: (json) => ({ ...json, ...foreign, id_token }) });
  const page = await open(journey, '/token?scope=a&force');
  expect(page.status).toBe(502);
  expect(page.headers.location).toBeUndefined();
  expect(page.text).not.toContain('mallory');
  expect((await fetchJson(journey, '/user')).json).toMatchObject({ sub: 'alice' });
  const cached = (await fetchJson(journey, '/token?scope=a')).json;
  expect(cached).toMatchObject({ source: 'cache', account: { subject: 'alice' } });
  expect(cached.accessToken).not.toBe('mallorys-token');

  // What the provider really gave for the spent token is lost, so the next refresh ends in a login, not in her account.
  await leave(journey, `${app.url}/token?scope=a&force`);
  expect(provider.refreshCalls.map(({ params }) => params.refresh_token)).not.toContain(
    'mallorys-refresh-token',
  );
});

test('A30: an ID token of the same sub is taken', async () => {
  const journey = await start({ provider: { idTokenOnRefresh: true }, app: { auth: { scopes: LOGIN_AB } } });
  expect((await fetchJson(journey, '/token?scope=a&force')).json).toMatchObject({ reason: 'forced' });
  expect((await fetchJson(journey, '/token?scope=a&force')).json).toMatchObject({ reason: 'forced' });
  expect(journey.provider.refreshCalls.every(({ answer }) => answer?.id_token !== undefined)).toBe(true);
});
