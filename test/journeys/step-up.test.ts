import { describe, expect, test } from '@jest/globals';
import type { Express, RequestHandler } from 'express';
import { requiresAuth, type TokenRequest } from 'express-oidc-tokens';
import type { Page, PendingRequest } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { R1, R2 } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import { asked, fetchJson, type Journey, leave, start } from './challenge-setup.ts';
import { startCaller } from './fetch-with-token-setup.ts';
import { refusal } from './recording-api.ts';

const answer: RequestHandler = (req, res) => void res.json({ acr: req.oidc.user?.acr });

function routes(app: Express): void {
  app.get('/strong', requiresAuth({ acr: 'mfa' }), answer);
  app.get('/either', requiresAuth({ acr: ['phr', 'mfa'] }), answer);
  app.get('/recent', requiresAuth({ maxAge: 60 }), answer);
  app.get(
    '/both',
    requiresAuth({ acr: 'mfa', maxAge: 0 }, (req, res) => void res.json({ acr: req.oidc.user.acr })),
  );
  app.get('/plain', requiresAuth({}), answer);
  app.get('/get-token', async (req, res) => {
    const { scopes, source } = await req.getToken(JSON.parse(String(req.query.request)) as TokenRequest);
    res.json({ scopes, source, acr: req.oidc.user?.acr });
  });
}

async function stepUp(options: { signedIn?: boolean; express?: 4 | 5; clockTolerance?: number } = {}) {
  const { signedIn = true, express = 5, clockTolerance = 30 } = options;
  const journey = await start({ signedIn, app: { express, routes, auth: { clockTolerance } } });
  journey.provider.clearCalls();
  return journey;
}

/** A provider that ignores a parameter: what it is asked without it. */
function without({ held }: Page & { held: PendingRequest }, ...names: string[]): PendingRequest {
  const url = new URL(held.url);
  for (const name of names) url.searchParams.delete(name);
  return { ...held, url: url.href };
}

const cases: [path: string, parameters: Record<string, string | null>][] = [
  ['/strong', { acr_values: 'mfa', max_age: null }],
  ['/either', { acr_values: 'phr mfa', max_age: null }],
  ['/recent', { acr_values: null, max_age: '60' }],
  ['/both', { acr_values: 'mfa', max_age: '0' }],
];

describe.each([5, 4] as const)('Express %i', (express) => {
  test.each(cases)('%s: one login that asks for it, then through', async (path, parameters) => {
    const journey = await stepUp({ express });
    const { app, browser, provider } = journey;
    travel(120);
    const url = `${app.url}${path}?q=1`;
    const page = await leave(journey, url);
    const sent = asked(page);
    expect({ acr_values: sent.get('acr_values'), max_age: sent.get('max_age') }).toEqual(parameters);
    expect(sent.get('login_hint')).toBe('alice');
    const back = await browser.navigate(page.held);
    expect(back).toMatchObject({ status: 200, url });
    expect(provider.authorizations).toHaveLength(1);
    expect((await browser.navigate(url)).hops).toHaveLength(1);
    expect(await fetchJson(journey, path)).toMatchObject({ status: 200 });
    expectNoSecrets(app.logText(), provider);
  });
});

test('nobody signed in: one login, with the step-up in it', async () => {
  const { app, browser, provider } = await stepUp({ signedIn: false });
  const page = await browser.navigate(`${app.url}/strong`);
  expect(page).toMatchObject({ status: 200, url: `${app.url}/strong` });
  expect(JSON.parse(page.text)).toEqual({ acr: 'mfa' });
  expect(provider.authorizations).toHaveLength(1);
});

test('a sign-in that is enough goes through, one that grew old does not', async () => {
  const journey = await stepUp();
  expect(await fetchJson(journey, '/recent')).toMatchObject({ status: 200 });
  expect(await fetchJson(journey, '/plain')).toMatchObject({ status: 200 });
  travel(60 + 30 - 5);
  expect(await fetchJson(journey, '/recent')).toMatchObject({ status: 200 });
  travel(10);
  expect(await fetchJson(journey, '/recent')).toMatchObject({
    status: 401,
    json: { error: 'interaction_required' },
  });
  expect(await fetchJson(journey, '/plain')).toMatchObject({ status: 200 });
});

test('a script is told, and its loginUrl asks for the step-up', async () => {
  const journey = await stepUp();
  const { status, json, headers } = await fetchJson(journey, '/strong', `${journey.app.url}/?page`);
  expect([status, headers.location]).toEqual([401, undefined]);
  const page = await leave(journey, String(json.loginUrl));
  expect(asked(page).get('acr_values')).toBe('mfa');
  expect(await journey.browser.navigate(page.held)).toMatchObject({ url: `${journey.app.url}/?page` });
  expect(await fetchJson(journey, '/strong')).toMatchObject({ status: 200, json: { acr: 'mfa' } });
});

describe('a provider that does not deliver', () => {
  test('the class: 403 after one login, and the user stays signed in', async () => {
    const journey = await stepUp();
    const { app, browser, provider } = journey;
    const page = await browser.navigate(without(await leave(journey, `${app.url}/strong`), 'acr_values'));
    expect(page).toMatchObject({ status: 403, url: `${app.url}/strong` });
    expect(await browser.navigate(`${app.url}/strong`)).toMatchObject({ status: 403 });
    expect(provider.authorizations).toHaveLength(1);
    expect(await fetchJson(journey, '/plain')).toMatchObject({ status: 200 });
    travel(60);
    expect(await browser.navigate(`${app.url}/strong`)).toMatchObject({ status: 200 });
  });

  test('the class, to a script: its loginUrl ends with 403 the second time', async () => {
    const journey = await stepUp();
    const again = async () => String((await fetchJson(journey, '/strong')).json.loginUrl);
    await journey.browser.navigate(without(await leave(journey, await again()), 'acr_values'));
    expect(await journey.browser.navigate(await again())).toMatchObject({ status: 403 });
  });

  test('the age: 403 after one login, and the user stays signed in', async () => {
    const journey = await stepUp();
    const { app, browser, provider } = journey;
    travel(120);
    const page = await browser.navigate(without(await leave(journey, `${app.url}/recent`), 'max_age'));
    expect(page).toMatchObject({ status: 403, url: `${app.url}/recent` });
    expect(provider.authorizations).toHaveLength(1);
    expect(await fetchJson(journey, '/plain')).toMatchObject({ status: 200 });
    travel(60);
    expect(await browser.navigate(`${app.url}/recent`)).toMatchObject({ status: 200 });
  });
});

test('a step-up that was delivered and grew old soon is asked for again', async () => {
  const journey = await start({
    app: {
      auth: { clockTolerance: 0 },
      routes: (app) => void app.get('/now', requiresAuth({ maxAge: 5 }), answer),
    },
  });
  const { app, browser } = journey;
  for (let round = 0; round < 2; round += 1) {
    travel(10);
    expect(await browser.navigate(`${app.url}/now`)).toMatchObject({ status: 200, url: `${app.url}/now` });
  }
});

test('two levels in turn, each in the place of the other: asked for again, and delivered again', async () => {
  const journey = await start({
    app: {
      routes: (app) => {
        for (const acr of ['phr', 'mfa']) app.get(`/${acr}`, requiresAuth({ acr }), answer);
      },
    },
  });
  const { app, browser } = journey;
  for (const acr of ['phr', 'mfa', 'phr', 'mfa']) {
    const page = await browser.navigate(`${app.url}/${acr}`);
    expect(page).toMatchObject({ status: 200, url: `${app.url}/${acr}` });
    expect(JSON.parse(page.text)).toEqual({ acr });
  }
});

test('a provider that takes a single resource is asked again for all of it: claims, classes, age', async () => {
  const resources = { one: { resource: R1, scopes: 'read' }, two: { resource: R2, scopes: 'read' } };
  const request = { resource: R2, scopes: 'read', acrValues: 'mfa', maxAge: 60, claims: '{"userinfo":{}}' };
  const journey = await start({ app: { routes, auth: { resources } } });
  const { app, browser, provider } = journey;
  const first = await leave(journey, tokenPage(journey, request));
  expect(asked(first).getAll('resource')).toHaveLength(2);
  const refused = new URLSearchParams({
    error: 'invalid_target',
    state: String(asked(first).get('state')),
    iss: provider.issuer,
  });
  const second = await leave(journey, `${app.url}/callback?${refused}`);
  const sent = asked(second);
  expect(sent.getAll('resource')).toEqual([R2]);
  for (const name of ['claims', 'acr_values', 'max_age']) expect(sent.get(name)).toBe(asked(first).get(name));
  expect(await browser.navigate(second.held)).toMatchObject({
    status: 200,
    url: tokenPage(journey, request),
  });
});

const tokenPage = ({ app }: Journey, request: TokenRequest) =>
  `${app.url}/get-token?request=${encodeURIComponent(JSON.stringify(request))}`;

test('req.getToken({ acrValues, maxAge }): a challenge with both, then the token', async () => {
  const journey = await stepUp();
  travel(120);
  const url = tokenPage(journey, { acrValues: ['phr', 'mfa'], maxAge: 60 });
  const page = await leave(journey, url);
  expect([asked(page).get('acr_values'), asked(page).get('max_age')]).toEqual(['phr mfa', '60']);
  const back = await journey.browser.navigate(page.held);
  expect(back).toMatchObject({ status: 200, url });
  expect(JSON.parse(back.text)).toMatchObject({ source: 'cache', acr: 'phr' });
});

test('req.getToken({ acrValues }): a provider that does not deliver it ends in 403', async () => {
  const journey = await stepUp();
  const { browser, provider } = journey;
  const page = await leave(journey, tokenPage(journey, { acrValues: 'mfa' }));
  expect(await browser.navigate(without(page, 'acr_values'))).toMatchObject({ status: 403 });
  expect(provider.authorizations).toHaveLength(1);
});

describe('RFC 9470: an API answers insufficient_user_authentication', () => {
  const challenge = 'Bearer error="insufficient_user_authentication", acr_values="mfa phr", max_age="60"';

  test('the user is sent to the provider with what the API asks for, and the API is called with the new token', async () => {
    const user = await startCaller();
    const { api, browser } = user;
    api.answer(refusal(challenge));
    const call = { url: `${api.url}/mail` };
    const page = await leave(user, user.page(call));
    expect([asked(page).get('acr_values'), asked(page).get('max_age')]).toEqual(['mfa phr', '60']);
    expect(api.calls).toHaveLength(1);
    expect(await browser.navigate(page.held)).toMatchObject({ status: 200, url: user.page(call) });
    expect(new Set(api.tokens()).size).toBe(2);
  });

  test('a sign-in that is enough, but not this token: one silent retry with another', async () => {
    const user = await startCaller();
    const { api, call, provider } = user;
    api.answer(refusal('Bearer error="insufficient_user_authentication", max_age=600'));
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ status: 200, json: { api: 200 } });
    expect(provider.refreshCalls).toHaveLength(1);
    expect(new Set(api.tokens()).size).toBe(2);
  });

  test('an API that only says that the user is needed: one silent retry, then the provider, then the answer', async () => {
    const user = await startCaller();
    const { api, browser, provider } = user;
    api.always(refusal('Bearer error="insufficient_user_authentication"'));
    const call = { url: `${api.url}/mail` };
    const page = await leave(user, user.page(call));
    expect([api.calls.length, provider.refreshCalls.length]).toEqual([2, 1]);
    expect(asked(page).has('acr_values')).toBe(false);
    api.always({});
    expect(await browser.navigate(page.held)).toMatchObject({ status: 200, url: user.page(call) });
  });

  test('a provider that does not deliver ends in 403', async () => {
    const user = await startCaller();
    const { api, browser } = user;
    api.always(refusal(challenge));
    const page = await leave(user, user.page({ url: `${api.url}/mail` }));
    expect(await browser.navigate(without(page, 'acr_values'))).toMatchObject({ status: 403 });
    expect(api.calls).toHaveLength(2);
  });

  test('an API that is never content with the claims: three logins for them, though the level is there', async () => {
    const user = await startCaller();
    const { api, browser, provider } = user;
    const claims = Buffer.from('{"userinfo":{"x":null}}').toString('base64url');
    api.always(refusal(`Bearer error="insufficient_claims", claims="${claims}"`));
    const call = { url: `${api.url}/mail`, request: { scopes: 'a', acrValues: 'mfa' } };
    expect((await browser.navigate(user.page(call))).status).toBe(400);
    // One for the level before them.
    expect(provider.authorizations).toHaveLength(4);
  });

  test('an API that is never content: two calls each time, and the logins end', async () => {
    const user = await startCaller();
    const { api, browser, provider } = user;
    api.always(refusal(challenge));
    const page = await browser.navigate(user.page({ url: `${api.url}/mail` }));
    expect(page.status).toBe(403);
    expect(provider.authorizations).toHaveLength(1);
    expect(api.calls).toHaveLength(3);
  });
});

test.each([
  { maxAge: -1 },
  { maxAge: '60' },
  { maxAge: 1.5 },
  { acr: '' },
  { acr: [] },
  { acr: [''] },
  { acr: 1 },
  { max_age: 60 },
  [],
  'mfa',
])('requiresAuth(%j) is a TypeError', (options) => {
  expect(() => requiresAuth(options as never)).toThrow(TypeError);
  expect(() => requiresAuth({ acr: 'mfa' }, options as never)).toThrow(TypeError);
});
