import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { auth, requiresAuth } from 'express-oidc-tokens';
import session, { MemoryStore } from 'express-session';
import type { TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import type { TestProvider } from '../support/provider.ts';
import {
  closeAll,
  copySession,
  openApp,
  openBrowser,
  openProvider,
  sessionId,
  silent,
  tokenCaches,
  whoIs,
} from './session-support.ts';

interface Side {
  provider: TestProvider;
  app: TestApp;
  browser: Browser;
}

let store: MemoryStore;
let staff: Side;
let shop: Side;

function routes(app: Express): void {
  app.get('/guarded', requiresAuth(), (_req, res) => void res.send('inside'));
  app.get('/put', (req, res) => {
    Object.assign(req.session, { secret: 'of the staff' });
    res.end();
  });
  app.get('/data', (req, res) => void res.json(req.session));
}

/** Two providers, each with an `auth()` of its own, over one session: the clients even go by the same id. */
beforeEach(async () => {
  store = new MemoryStore();
  const encryptionKeys = [{ kid: 'k', key: randomBytes(32) }];
  const open = async (browser: Browser): Promise<Side> => {
    const provider = await openProvider();
    return { provider, app: await openApp(provider, { store, routes, auth: { encryptionKeys } }), browser };
  };
  staff = await open(openBrowser({ account: 'alice' }));
  shop = await open(openBrowser({ account: 'alice' }));
});

afterEach(closeAll);

/** One app with both, each under its path, with a session cookie of its own. */
async function openSideBySide() {
  const app = await openApp(staff.provider, { session: false, auth: { session: false } });
  const quiet = { debug() {}, info() {}, warn() {}, error() {} };
  for (const [path, { provider }] of Object.entries({ '/staff': staff, '/shop': shop })) {
    const { issuer, client } = provider;
    const cookies = session({
      name: path.slice(1),
      secret: 'test',
      resave: false,
      saveUninitialized: false,
      store,
    });
    app.express.use(path, cookies, auth({ issuer, ...client, baseUrl: app.url + path, logger: quiet }));
    app.express.get(`${path}/who`, (req, res) => void res.send(req.oidc.account?.issuer ?? 'nobody'));
  }
  return app;
}

async function signInAtStaff(): Promise<string> {
  await staff.browser.login(staff.app);
  copySession(staff, shop);
  return String(staff.provider.tokenCalls.at(-1)?.answer?.refresh_token);
}

test('who signed in at one provider is nobody to the other, which sees none of its tokens', async () => {
  await signInAtStaff();
  const { app, browser, provider } = shop;
  expect(await whoIs(browser, app)).toBe('anonymous');
  expect(await silent(browser, app, 'force')).toMatchObject({ reason: 'signed_out' });
  const id = String(sessionId(browser, app));
  await expect(app.handle.forSession(id, store).getTokenSilent()).rejects.toMatchObject({
    reason: 'signed_out',
  });
  const page = await browser.navigate(`${app.url}/guarded`, {
    stopAt: (url) => url.href.startsWith(provider.issuer),
  });
  expect(page.held?.url).toContain(`${provider.issuer}/auth?`);
  expect(provider.tokenCalls).toEqual([]);
  expect(await whoIs(staff.browser, staff.app)).toBe('signed in as alice');
});

test('a logout ends the session of the other, whose token is not shown to this provider', async () => {
  const refreshToken = await signInAtStaff();
  await shop.browser.request(`${shop.app.url}/logout`, { method: 'POST' });
  expect(await whoIs(staff.browser, staff.app)).toBe('anonymous');
  expect(tokenCaches(store).size).toBe(0);
  expect(JSON.stringify(shop.provider.revocations)).not.toContain(refreshToken);
});

test('a sign-in at the other takes the session over: tokens and data of the first are gone', async () => {
  const refreshToken = await signInAtStaff();
  await staff.browser.request(`${staff.app.url}/put`);
  const page = await shop.browser.navigate(`${shop.app.url}/guarded`);
  expect(page.text).toBe('inside');
  expect((await shop.browser.request(`${shop.app.url}/data`)).text).not.toContain('of the staff');
  expect(tokenCaches(store).size).toBe(1);
  expect(JSON.stringify(shop.provider.revocations)).not.toContain(refreshToken);
  copySession(shop, staff);
  expect(await whoIs(staff.browser, staff.app)).toBe('anonymous');
});

test('an answer to a login that the other started is not redeemed', async () => {
  const { app, browser, provider } = staff;
  const started = await browser.navigate(`${app.url}/login`, {
    stopAt: (url) => url.pathname === '/callback',
  });
  copySession(staff, shop);
  const { search } = new URL(String(started.held?.url));
  const elsewhere = await shop.browser.request(`${shop.app.url}/callback${search}`);
  expect(elsewhere.headers.location).toContain(`${shop.provider.issuer}/auth?`);
  expect(shop.provider.tokenCalls).toEqual([]);
  expect((await browser.navigate(started.held?.url ?? '')).text).toBe('signed in as alice');
  expect(provider.tokenCalls).toHaveLength(1);
});

test('with a session of its own each, under a path of its own: signed in at both', async () => {
  const app = await openSideBySide();
  const browser = openBrowser({ account: 'alice' });
  const who = async (path: string) => (await browser.request(`${app.url}${path}/who`)).text;
  for (const path of ['/staff', '/shop']) await browser.navigate(`${app.url}${path}/login`);
  expect([await who('/staff'), await who('/shop')]).toEqual([staff.provider.issuer, shop.provider.issuer]);
  await browser.request(`${app.url}/staff/logout`, { method: 'POST' });
  expect([await who('/staff'), await who('/shop')]).toEqual(['nobody', shop.provider.issuer]);
});
