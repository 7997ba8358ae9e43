import { PassThrough } from 'node:stream';
import { afterEach, expect, test } from '@jest/globals';
import express, { type Express, type Request } from 'express';
import { readBytes } from '../../src/express/form-body.ts';
import { bindTo } from '../storage/engine-support.ts';
import type { AppOptions, TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import {
  closeAll,
  openApp,
  openBrowser,
  openProvider,
  records,
  signedIn,
  silent,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const ROUTES = { backchannelLogout: '/backchannel-logout', frontchannelLogout: '/frontchannel-logout' };

async function open(options: AppOptions = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, { ...options, auth: { routes: ROUTES, ...options.auth } });
  const logout = async (claims: object) => {
    const body = new URLSearchParams({ logout_token: await provider.signLogoutToken({ ...claims }) });
    return (await fetch(`${app.url}${ROUTES.backchannelLogout}`, { method: 'POST', body })).status;
  };
  return { provider, app, logout };
}

async function sidOf(browser: Browser, app: TestApp): Promise<string> {
  const { json } = await browser.fetchJson(`${app.url}/user`);
  return (json as { sid: string }).sid;
}

test('B38: a session that is used for long and never asks for a token is found', async () => {
  const { app, logout } = await open({ session: { rolling: true, cookie: { maxAge: 3_600_000 } } });
  const browser = await signedIn(app);
  for (let round = 0; round < 5; round += 1) {
    travel(3240);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  }
  expect(await logout({ sub: 'alice' })).toBe(200);
  expect(await whoIs(browser, app)).toBe('anonymous');
});

test('the end of an earlier session at the provider is not the end of this one', async () => {
  const { provider, app, logout } = await open();
  provider.setBackchannelLogout(`${app.url}${ROUTES.backchannelLogout}`);
  const browser = await signedIn(app);
  const earlier = await sidOf(browser, app);
  browser.cookies.clear(provider.issuer);
  await browser.navigate(`${app.url}/login`);
  const later = await sidOf(browser, app);
  expect(later).not.toBe(earlier);
  expect(await logout({ sid: earlier })).toBe(200);
  expect(await silent(browser, app)).toMatchObject({ tokenType: 'Bearer' });
  expect(await logout({ sid: later })).toBe(200);
  expect(await whoIs(browser, app)).toBe('anonymous');
});

test('sid and sub: a session that the provider gave no sid ends too, another one of the account does not', async () => {
  const { provider, app, logout } = await open();
  const without = await signedIn(app);
  expect(await sidOf(without, app)).toBeUndefined();
  provider.setBackchannelLogout(`${app.url}${ROUTES.backchannelLogout}`);
  const other = await signedIn(app);
  expect(await logout({ sub: 'alice', sid: 'elsewhere' })).toBe(200);
  expect(await Promise.all([without, other].map((browser) => whoIs(browser, app)))).toEqual([
    'anonymous',
    'signed in as alice',
  ]);
});

test('a logout while the session of the login is on its way to the store: not signed in', async () => {
  const store = countingStore();
  const { app, logout } = await open({ store });
  const browser = openBrowser();
  let arrived: () => void = () => undefined;
  const isSaving = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const isSession = (sid: string) => !sid.startsWith('oidc.');
  let saves = 0;
  store.fault = {
    set: (sid) => {
      // The first one is of the anonymous session, when the login starts.
      saves += isSession(sid) ? 1 : 0;
      if (!isSession(sid) || saves !== 2) return undefined;
      arrived();
      return 300;
    },
  };
  const login = browser.navigate(`${app.url}/login`);
  await isSaving;
  expect(await logout({ sub: 'alice' })).toBe(200);
  expect((await login).status).toBe(400);
  expect(await whoIs(browser, app)).toBe('anonymous');
});

test('a store that takes no entries is said once a minute, and asked again', async () => {
  const store = countingStore();
  const { app, logout } = await open({ store });
  store.fault = { set: (sid) => (sid.startsWith('oidc.index.') ? 'fail' : undefined) };
  const browser = await signedIn(app);
  for (let request = 0; request < 5; request += 1) await whoIs(browser, app);
  const said = () => app.logs.filter(({ message }) => message.includes('could not be registered')).length;
  expect(said()).toBe(1);
  store.fault = {};
  travel(61);
  await whoIs(browser, app);
  expect(await logout({ sub: 'alice' })).toBe(200);
  expect(await whoIs(browser, app)).toBe('anonymous');
  expect(said()).toBe(1);
});

test('a process that meets the tombstone of a sign-in takes it for ended from then on', async () => {
  const { app } = await open();
  const browser = await signedIn(app);
  const [session] = [...records(app.store).values()].filter(({ oidc }) => oidc !== undefined);
  const { ref } = (session as unknown as { oidc: { ref: string } }).oidc;
  await bindTo(app.store).tokens.remove(ref);
  expect(await whoIs(browser, app)).toBe('signed in as alice');
  expect(await silent(browser, app, 'force')).toMatchObject({ reason: 'signed_out' });
  expect(await whoIs(browser, app)).toBe('anonymous');
});

test.each<[string, (app: Express) => void]>([
  ['as text', (app) => app.use(express.text({ type: '*/*' }))],
  ['as bytes', (app) => app.use(express.raw({ type: '*/*' }))],
  ['as fields', (app) => app.use(express.urlencoded({ extended: false }))],
  [
    'with an encoding',
    (app) => {
      app.use((req, _res, next) => {
        req.setEncoding('utf8');
        next();
      });
    },
  ],
])('the body of a logout, read before by the app %s', async (_name, before) => {
  const { app, logout } = await open({ before });
  const browser = await signedIn(app);
  expect(await logout({ sub: 'alice' })).toBe(200);
  expect(await whoIs(browser, app)).toBe('anonymous');
});

test('front-channel logout in an app that reads no queries', async () => {
  const { provider, app } = await open({ before: (site) => void site.set('query parser', false) });
  provider.setBackchannelLogout(`${app.url}${ROUTES.backchannelLogout}`);
  const browser = await signedIn(app);
  const query = new URLSearchParams({ iss: provider.issuer, sid: await sidOf(browser, app) });
  const visit = (text: string) => fetch(`${app.url}${ROUTES.frontchannelLogout}?${text}`);
  expect((await visit(`${query}&sid=other`)).status).toBe(400);
  expect((await visit(`${query}`)).status).toBe(200);
  expect(await whoIs(browser, app)).toBe('anonymous');
});

test('a body whose sender has gone away is given up', async () => {
  const gone = new PassThrough();
  gone.destroy();
  await expect(readBytes(gone as unknown as Request)).rejects.toThrow('aborted');
  const going = new PassThrough();
  const reading = readBytes(going as unknown as Request);
  going.write('half');
  going.destroy();
  await expect(reading).rejects.toThrow('aborted');
});
