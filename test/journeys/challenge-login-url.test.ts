import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from '@jest/globals';
import type { RequestHandler } from 'express';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { asked, fetchJson, type Journey, LOGIN_AB, leave, start, words } from './challenge-setup.ts';

const CLAIMS = { id_token: { acr: { value: 'mfa' } } };

async function signedIn(auth: object = {}, signIn = true) {
  const store = countingStore();
  const journey = await start({
    signedIn: signIn,
    app: {
      store,
      auth: { scopes: LOGIN_AB, ...auth },
      routes: (app) => {
        app.get('/page', (_req, res) => void res.send('a page'));
        app.get(
          '/strict',
          async (req, res) => void res.json(await req.getToken({ scopes: 'c', claims: CLAIMS })),
        );
      },
    },
  });
  return { ...journey, store };
}

async function loginUrlOf(journey: Journey, path = '/token?scope=c', referer?: string): Promise<string> {
  const { status, json } = await fetchJson(journey, path, referer);
  expect(status).toBe(401);
  return String(json.loginUrl);
}

test('A22: fetch() needing the user → loginUrl; following it in the browser completes it', async () => {
  const journey = await signedIn();
  const { app, browser, provider, store } = journey;
  store.calls.length = 0;
  const page = `${app.url}/page?tab=2`;
  const { status, headers, json } = await fetchJson(journey, '/token?scope=c', page);
  expect(status).toBe(401);
  expect(headers.location).toBeUndefined();
  expect(json).toEqual({ error: 'interaction_required', loginUrl: expect.any(String), scopes: ['c'] });
  provider.clearCalls();

  const left = await leave(journey, String(json.loginUrl));
  expect(words(asked(left).get('scope'))).toEqual(words(`${LOGIN_AB} c`));
  expect(asked(left).get('login_hint')).toBe('alice');
  expect(await browser.navigate(left.held)).toMatchObject({ status: 200, url: page, text: 'a page' });
  expect((await fetchJson(journey, '/token?scope=c', page)).json).toMatchObject({ source: 'cache' });
  expect(provider.refreshCalls).toEqual([]);
});

test('loginUrl carries the claims, sealed: nothing of the request can be read in it', async () => {
  const journey = await signedIn();
  journey.provider.script({ status: 400, json: { error: 'interaction_required' } });
  const url = await loginUrlOf(journey, '/strict', `${journey.app.url}/page?secret-tab`);
  const parts = [...new URL(url).searchParams.values()].flatMap((value) => value.split('.'));
  const readable = [url, ...parts.map((part) => Buffer.from(part, 'base64url').toString())].join(' ');
  expect(readable).not.toMatch(/scopes|id_token|mfa|secret-tab/);
  expect(JSON.parse(asked(await leave(journey, url)).get('claims') ?? '')).toEqual(CLAIMS);
});

test('loginUrl stores nothing until it is opened', async () => {
  const journey = await signedIn({}, false);
  const { app, browser, store, provider } = journey;
  const urls = await Promise.all(Array.from({ length: 20 }, () => loginUrlOf(journey)));
  expect(store.calls).toEqual([]);
  expect(browser.cookies.header(new URL(app.url), { crossSite: false, safeNavigation: true })).toBeFalsy();
  expect(provider.discoveryCalls).toBe(0);
  await leave(journey, urls[7] ?? '');
  expect(store.count('set', 'oidc.')).toBe(1);
});

test('loginUrl for a signed-in user leaves the session and the pending logins alone', async () => {
  const journey = await signedIn();
  const { store, app, browser } = journey;
  const pending = await leave(journey, `${app.url}/token?scope=c`);
  store.calls.length = 0;
  for (let n = 0; n < 12; n += 1) await loginUrlOf(journey);
  expect(store.count('set', { not: 'oidc.' })).toBe(0);
  expect(store.count('set', 'oidc.tx')).toBe(0);
  expect(await browser.navigate(pending.held)).toMatchObject({
    status: 200,
    url: `${app.url}/token?scope=c`,
  });
});

const RETURNS: [name: string, added: string, referer: (app: string) => string | undefined, path: string][] = [
  ['to returnTo where the page adds one', '/page?own=1', (app) => `${app}/page?tab=2`, '/page?own=1'],
  ['to the same-origin Referer', '', (app) => `${app}/page?tab=2`, '/page?tab=2'],
  ['to / without a Referer', '', () => undefined, '/'],
  ['to / for another origin as Referer', '', () => 'https://elsewhere.example/page', '/'],
  ['to / for an origin that begins like ours', '', (app) => `${app}@evil.example/page`, '/'],
  [
    'to the Referer when returnTo leaves the origin',
    'https://evil.example/',
    (app) => `${app}/page`,
    '/page',
  ],
  ['to the Referer when returnTo is //host', '//evil.example/', (app) => `${app}/page`, '/page'],
];

test.each(RETURNS)('loginUrl comes back %s', async (_name, added, referer, path) => {
  const journey = await signedIn();
  const { app, browser } = journey;
  const url = new URL(await loginUrlOf(journey, '/token?scope=c', referer(app.url)));
  if (added !== '') url.searchParams.set('returnTo', added);
  expect(await browser.navigate(url)).toMatchObject({ status: 200, url: app.url + path });
});

/** The login route with a `request` of somebody's own making: a plain login to `/`, for the login's own scopes. */
async function expectPlainLogin(journey: Journey, query: string): Promise<void> {
  const { app, browser } = journey;
  const left = await leave(journey, `${app.url}/login?${query}`);
  expect(asked(left).has('claims')).toBe(false);
  expect(words(asked(left).get('scope'))).toEqual(words(LOGIN_AB));
  expect(await browser.navigate(left.held)).toMatchObject({ status: 200, url: `${app.url}/` });
}

test('a damaged request value is harmless', async () => {
  const journey = await signedIn();
  const sealed = new URL(await loginUrlOf(journey)).searchParams.get('request') ?? '';
  const middle = Math.floor(sealed.length / 2);
  const flipped = `${sealed.slice(0, middle)}${sealed[middle] === 'A' ? 'B' : 'A'}${sealed.slice(middle + 1)}`;
  const damaged = [
    flipped,
    sealed.slice(0, -10),
    `${sealed}.x`,
    '',
    '....',
    'x'.repeat(15_000),
    '{"request":{}}',
    '%00',
  ];
  for (const value of damaged) await expectPlainLogin(journey, `request=${encodeURIComponent(value)}`);
  await expectPlainLogin(journey, `request=${sealed}&request=${sealed}`);
  await expectPlainLogin(journey, `request[scopes]=x&request[]=${sealed}`);
});

test('a request value of another app, and one of yesterday, are harmless', async () => {
  const journey = await signedIn();
  const other = await signedIn();
  const foreign = new URL(await loginUrlOf(other, '/token?scope=c', `${other.app.url}/page`));
  await expectPlainLogin(journey, foreign.searchParams.toString());
  const own = new URL(await loginUrlOf(journey, '/token?scope=c', `${journey.app.url}/page`));
  travel(25 * 3600);
  await expectPlainLogin(journey, own.searchParams.toString());
});

test('a request value can be forged nowhere, not even where tokens are stored unencrypted', async () => {
  const journey = await signedIn({ allowUnencryptedTokens: true });
  const sealed = new URL(await loginUrlOf(journey)).searchParams.get('request') ?? '';
  const at = Date.now() / 1000;
  const forged = JSON.stringify({ request: { scopes: ['x'] }, returnTo: 'https://evil.example/', at });
  const binding = createHash('sha256').update('["login request","login request"]').digest('base64url');
  const text = Buffer.from(forged).toString('base64url');
  for (const value of [`0.${binding}.${text}`, [...sealed.split('.').slice(0, -1), text].join('.')])
    await expectPlainLogin(journey, `request=${encodeURIComponent(value)}`);
});

test('with keys of their own, another process of the app opens it', async () => {
  const encryptionKeys = [{ kid: 'k1', key: Buffer.alloc(32, 7).toString('base64') }];
  const journey = await signedIn({ encryptionKeys });
  const sibling = await signedIn({ encryptionKeys });
  const url = new URL(await loginUrlOf(journey));
  const left = await leave(sibling, `${sibling.app.url}/login${url.search}`);
  expect(words(asked(left).get('scope'))).toContain('c');
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

test.each(['as it is', 'by a proxy that strips it'])(
  'a baseUrl with a path, handed on %s: loginUrl and the way back start with it',
  async (how) => {
    const port = await freePort();
    const base = `http://127.0.0.1:${port}/shop`;
    const strips = how !== 'as it is';
    const page: RequestHandler = async (req, res) => void res.json(await req.getToken('c'));
    const journey = await start({
      signedIn: false,
      app: {
        port,
        auth: { baseUrl: base },
        routes: (app) => void app.get(strips ? '/orders' : '/shop/orders', page),
      },
    });
    const { app, browser } = journey;
    app.server.prependListener('request', (req) => {
      if (strips) req.url = req.url?.replace('/shop', '');
    });
    const { json } = await browser.fetchJson(`${base}/orders?n=1`, { referer: `${base}/orders?page` });
    const { loginUrl } = json as { loginUrl: string };
    expect(loginUrl).toMatch(`${base}/login?`);
    const left = await leave(journey, loginUrl);
    expect(asked(left).get('redirect_uri')).toBe(`${base}/callback`);
    expect(await browser.navigate(left.held)).toMatchObject({ status: 200, url: `${base}/orders?page` });
  },
);
