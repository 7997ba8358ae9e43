import { expect, test } from '@jest/globals';
import type { ErrorRequestHandler } from 'express';
import { requiresAuth, requiresToken } from 'express-oidc-tokens';
import { Browser } from '../support/browser.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { closing, fetchJson, type Journey, LOGIN_AB, leave, open, start } from './challenge-setup.ts';

/** No refresh token, and `c` is not given however often it is asked for. */
const NEVER_C = {
  provider: { client: { grant_types: ['authorization_code'] }, denyScopes: new Set(['c']) },
  app: { auth: { scopes: LOGIN_AB } },
};

test('three challenges with successful callbacks in between → a typed error, no fourth redirect', async () => {
  const journey = await start(NEVER_C);
  const { provider, app, browser } = journey;
  provider.clearCalls();
  const url = `${app.url}/token?scope=c`;
  const page = await browser.navigate(url);
  expect(page).toMatchObject({ status: 400, url });
  expect(provider.authorizations).toHaveLength(3);
  expect((await open(journey, '/token?scope=c')).status).toBe(400);
  expect(provider.authorizations).toHaveLength(3);
  expect(await browser.navigate(`${app.url}/token?scope=a`)).toMatchObject({ status: 200 });

  // Other scopes and other URLs are not part of that loop.
  await leave(journey, `${app.url}/token?scope=x`);
  await leave(journey, `${app.url}/token?scope=c&page=2`);
});

test('the error of the loop is typed, for handlers, guards and the login route', async () => {
  const seen: unknown[] = [];
  const onError: ErrorRequestHandler = (error, _req, res, _next) => {
    seen.push(error);
    res.status(error.status).send('mine');
  };
  const journey = await start({
    ...NEVER_C,
    app: {
      ...NEVER_C.app,
      routes: (app) => {
        app.get('/guarded', requiresToken('c'), (_req, res) => void res.send('in'));
        app.use(onError);
      },
    },
  });
  const { app, browser } = journey;
  for (const path of ['/token?scope=c', '/guarded']) {
    expect(await browser.navigate(app.url + path)).toMatchObject({ status: 400, text: 'mine' });
    const error = seen.pop();
    expect(error).toMatchObject({ name: 'LoginError', code: 'ERR_OIDC_LOGIN_LOOP', status: 400 });
    expect(String(error)).toContain('c');
  }
});

test('a script that sends the user to loginUrl again and again ends, too', async () => {
  const journey = await start(NEVER_C);
  const { provider, app, browser } = journey;
  const statuses: number[] = [];
  provider.clearCalls();
  for (let round = 0; round < 5; round += 1) {
    const { status, json } = await fetchJson(journey, '/token?scope=c', `${app.url}/?page`);
    statuses.push(status === 401 ? (await browser.navigate(String(json.loginUrl))).status : status);
  }
  expect(statuses).toEqual([200, 200, 200, 400, 400]);
  expect(provider.authorizations).toHaveLength(3);
});

test('challenges without a successful callback are no loop', async () => {
  const journey = await start(NEVER_C);
  for (let round = 0; round < 6; round += 1) await leave(journey, `${journey.app.url}/token?scope=c`);
});

test('legitimate repeats later are fine: after a minute, and at each expiry', async () => {
  const journey = await start(NEVER_C);
  const { app, browser } = journey;
  expect((await browser.navigate(`${app.url}/token?scope=c`)).status).toBe(400);
  travel(60);
  await leave(journey, `${app.url}/token?scope=c`);
  for (let round = 0; round < 5; round += 1) {
    travel(3600);
    const page = await browser.navigate(`${app.url}/token?scope=b`);
    expect(page.hops.map(({ status }) => status)).toEqual([302, 303, 302, 200]);
  }
});

/** A browser with the same cookies, whose user refuses at the provider. */
function refusing({ browser }: Journey): Browser {
  return closing(new Browser({ consent: 'deny', jar: browser.cookies }));
}

test('access_denied → an error page with a way back, still signed in', async () => {
  const journey = await start({ provider: { consent: 'ask' }, app: { auth: { scopes: LOGIN_AB } } });
  const { provider, app, browser } = journey;
  provider.script({ status: 400, json: { error: 'consent_required' } });
  const page = await refusing(journey).navigate(`${app.url}/token?scope=c`);
  expect(page.status).toBe(400);
  expect(page.headers['content-type']).toMatch('text/html');
  expect(page.url).toMatch(`${app.url}/callback?`);
  const [, back = ''] = /<a href="([^"]+)"/.exec(page.text) ?? [];
  expect(await browser.navigate(new URL(back, page.url))).toMatchObject({
    status: 200,
    text: 'signed in as alice',
  });
  expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({ source: 'cache' });
  travel(3600);
  expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({ reason: 'expired' });
});

test('access_denied → the app’s own error handler, still signed in, and the next challenge may succeed', async () => {
  const onError: ErrorRequestHandler = (error, _req, res, _next) => {
    const { name, code, status, error: reason } = error;
    res.status(status).json({ name, code, reason });
  };
  const journey = await start({
    provider: { consent: 'ask' },
    app: { auth: { scopes: LOGIN_AB }, routes: (app) => void app.use(onError) },
  });
  const { provider, app, browser } = journey;
  provider.script({ status: 400, json: { error: 'consent_required' } });
  const url = `${app.url}/token?scope=c`;
  const page = await refusing(journey).navigate(url);
  expect(page.status).toBe(400);
  expect(JSON.parse(page.text)).toEqual({
    name: 'LoginError',
    code: 'ERR_OIDC_LOGIN_FAILED',
    reason: 'access_denied',
  });
  expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({ source: 'cache' });
  provider.script({ status: 400, json: { error: 'consent_required' } });
  expect(await browser.navigate(url)).toMatchObject({ status: 200, url });
});

const OUTAGES: [name: string, begin: (journey: Journey) => unknown][] = [
  ['discovery answers 503', ({ provider }) => Object.assign(provider.down, { discovery: 503 })],
  ['discovery resets', ({ provider }) => Object.assign(provider.down, { discovery: 'reset' })],
  ['connections are refused', ({ provider }) => provider.stop()],
  ['the pushed request answers 503', ({ provider }) => Object.assign(provider.down, { pushed: 503 })],
  ['the pushed request resets', ({ provider }) => Object.assign(provider.down, { pushed: 'reset' })],
];

test.each(OUTAGES)(
  'provider down during a challenge, %s → 503 with Retry-After, no redirect, nothing stored',
  async (_name, begin) => {
    const store = countingStore();
    const journey = await start({
      signedIn: false,
      app: {
        store,
        auth: { pushedAuthorizationRequests: 'always' },
        routes: (app) => {
          app.get('/caught', async (req, res) => {
            await req.getToken('a').catch((error) => res.status(500).json({ code: error.code }));
          });
          app.get('/guarded', requiresAuth(), (_req, res) => void res.send('in'));
          app.get('/token-guarded', requiresToken('a'), (_req, res) => void res.send('in'));
        },
      },
    });
    const { provider, app, browser } = journey;
    await begin(journey);
    for (const path of ['/token?scope=a', '/guarded', '/token-guarded']) {
      const answer = await open(journey, path);
      expect(answer.status).toBe(503);
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
      expect(answer.headers.location).toBeUndefined();
      expect(answer.headers['set-cookie']).toBeUndefined();
    }
    // The error is the outage's, and the app's own answer to it leaves as it is.
    const caught = await open(journey, '/caught');
    expect(caught).toMatchObject({ status: 500, text: '{"code":"ERR_OIDC_PROVIDER_UNAVAILABLE"}' });
    expect(store.calls).toEqual([]);
    // A script is told without the provider.
    expect((await fetchJson(journey, '/token?scope=a')).status).toBe(401);

    provider.down = {};
    await provider.restart();
    travel(60);
    expect(await browser.navigate(`${app.url}/guarded`)).toMatchObject({ status: 200, text: 'in' });
  },
);

test('the store fails during a challenge → 503, no redirect', async () => {
  const store = countingStore();
  const journey = await start({ signedIn: false, app: { store } });
  for (const broken of [
    (sid: string) => sid.startsWith('oidc.'),
    (sid: string) => !sid.startsWith('oidc.'),
  ]) {
    store.fault.set = (sid) => (broken(sid) ? 'fail' : undefined);
    const answer = await open(journey, '/token?scope=a');
    expect(answer.status).toBe(503);
    expect(answer.headers.location).toBeUndefined();
  }
  store.fault = {};
  expect((await open(journey, '/token?scope=a')).status).toBe(302);
});
