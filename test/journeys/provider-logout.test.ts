import { afterEach, describe, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import type { Store } from 'express-session';
import type { AppOptions, TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import type { SignOptions, TestProvider } from '../support/provider.ts';
import { redisAvailable, startRedis } from '../support/redis.ts';
import { storeFactories } from '../support/store-factories.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import {
  closeAll,
  closing,
  expectAlive,
  heldAnswer,
  openApp,
  openProvider,
  sessionId,
  signedIn,
  silent,
  tokenCaches,
  until,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const ROUTES = { backchannelLogout: '/backchannel-logout', frontchannelLogout: '/frontchannel-logout' };
const KEYS = { encryptionKeys: [{ kid: 'k', key: Buffer.alloc(32, 7) }] };

async function open(options: AppOptions = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, { ...options, auth: { routes: ROUTES, ...KEYS, ...options.auth } });
  provider.setBackchannelLogout(`${app.url}${ROUTES.backchannelLogout}`);
  return { provider, app };
}

async function post(app: TestApp, logoutToken: string | undefined, body?: RequestInit['body']) {
  const form = new URLSearchParams(logoutToken === undefined ? {} : { logout_token: logoutToken });
  const answer = await fetch(`${app.url}${ROUTES.backchannelLogout}`, { method: 'POST', body: body ?? form });
  const text = await answer.text();
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('set-cookie')).toBeNull();
  return { status: answer.status, json: text === '' ? undefined : JSON.parse(text) };
}

async function expectSignedOut(browser: Browser, app: TestApp): Promise<void> {
  expect(await whoIs(browser, app)).toBe('anonymous');
  expect(await silent(browser, app)).toMatchObject({ reason: 'signed_out' });
}

async function sidOf(browser: Browser, app: TestApp): Promise<string> {
  const { json } = await browser.fetchJson(`${app.url}/user`);
  return (json as { sid: string }).sid;
}

test('B38: the user signs out at the provider: the session here ends', async () => {
  const { provider, app } = await open();
  const browser = await signedIn(app);
  const other = await signedIn(app, { account: 'bob' });
  await browser.navigate(`${provider.issuer}/session/end`);
  await until(async () => (await whoIs(browser, app)) === 'anonymous');
  await expectSignedOut(browser, app);
  expect(await whoIs(other, app)).toBe('signed in as bob');
  expectNoSecrets(app.logText(), provider);
});

test('B38: sid ends one session, sub all of the account, and nobody else’s', async () => {
  const { provider, app } = await open();
  const [one, two, three] = [await signedIn(app), await signedIn(app), await signedIn(app)];
  const bob = await signedIn(app, { account: 'bob' });
  const sid = await sidOf(one, app);
  expect(sid).not.toBe(await sidOf(two, app));
  expect(await post(app, await provider.signLogoutToken({ sid, sub: 'alice' }))).toEqual({ status: 200 });
  expect(await Promise.all([one, two].map((browser) => whoIs(browser, app)))).toEqual([
    'anonymous',
    'signed in as alice',
  ]);
  await expectAlive(two, app);
  expect((await post(app, await provider.signLogoutToken({ sub: 'alice' }))).status).toBe(200);
  for (const browser of [two, three]) await expectSignedOut(browser, app);
  expect(await whoIs(bob, app)).toBe('signed in as bob');
  // What is not there any more needs no logout.
  expect((await post(app, await provider.signLogoutToken({ sid }))).status).toBe(200);
});

test('B38: a replayed logout token is refused', async () => {
  const { provider, app } = await open();
  const token = await provider.signLogoutToken({ sub: 'alice' });
  expect((await post(app, token)).status).toBe(200);
  const browser = await signedIn(app);
  expect(await post(app, token)).toMatchObject({
    status: 400,
    json: { error: 'invalid_request', error_description: expect.stringContaining('used already') },
  });
  expect(await whoIs(browser, app)).toBe('signed in as alice');
});

describe('B38: refused, and still signed in', () => {
  type Make = (provider: TestProvider) => Promise<string | undefined>;
  const signed =
    (claims: object, options: SignOptions = {}): Make =>
    (provider) =>
      provider.signLogoutToken({ sub: 'alice', ...claims }, options);

  test.each<[string, Make]>([
    ['expired', signed({ iat: 1_700_000_000, exp: 1_700_000_100 })],
    ['another audience', signed({ aud: 'other' })],
    ['another issuer', signed({ iss: 'https://evil.example' })],
    ['a nonce', signed({ nonce: 'n' })],
    ['alg none', signed({}, { alg: 'none' })],
    ['HS256 with the client secret', signed({}, { alg: 'HS256', key: Buffer.from('x'.repeat(32)) })],
    ['an algorithm that is not the configured one', signed({}, { alg: 'ES256' })],
    ['the type of an access token', signed({}, { header: { typ: 'at+jwt' } })],
    ['an ID token', (provider) => provider.signIdToken({ sub: 'alice' })],
    ['no JWT', async () => 'a.b.c'],
    ['none', async () => undefined],
    ['a token that is empty', async () => ''],
  ])('%s', async (_name, make) => {
    const { provider, app } = await open();
    const browser = await signedIn(app);
    const token = await make(provider);
    expect(await post(app, token)).toMatchObject({ status: 400, json: { error: 'invalid_request' } });
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expectNoSecrets(app.logText(), provider);
    if (token) expect(app.logText()).not.toContain(token);
  });

  test.each<[string, RequestInit['body']]>([
    ['JSON', '{"logout_token":"x"}'],
    ['a body of a megabyte', new URLSearchParams({ logout_token: 'x'.repeat(1024 * 1024) })],
  ])('%s', async (_name, body) => {
    const { app } = await open();
    expect((await post(app, undefined, body)).status).toBe(400);
  });
});

test('without the option there is no such route', async () => {
  const { provider, app } = await open({ auth: { routes: {} } });
  const token = await provider.signLogoutToken({ sub: 'alice' });
  const body = new URLSearchParams({ logout_token: token });
  const answer = await fetch(`${app.url}${ROUTES.backchannelLogout}`, { method: 'POST', body });
  expect(answer.status).toBe(404);
});

test('after a step-up, with its new session id, the session is found; after a long rolling session too', async () => {
  const { provider, app } = await open({ session: { rolling: true, cookie: { maxAge: 3_600_000 } } });
  const browser = await signedIn(app);
  const before = sessionId(browser, app);
  await browser.navigate(`${app.url}/login?returnTo=/`);
  expect(sessionId(browser, app)).not.toBe(before);
  for (let hours = 0; hours < 4; hours += 0.9) {
    travel(0.9 * 3600);
    expect(await silent(browser, app)).toMatchObject({ tokenType: 'Bearer' });
  }
  expect((await post(app, await provider.signLogoutToken({ sub: 'alice' }))).status).toBe(200);
  await expectSignedOut(browser, app);
});

test('B36: a refresh in flight ends as a logout does: signed out, its refresh token revoked', async () => {
  const { provider, app } = await open();
  const browser = await signedIn(app);
  travel(3601);
  const held = heldAnswer(provider);
  const refreshing = silent(browser, app);
  await held.arrived;
  expect((await post(app, await provider.signLogoutToken({ sub: 'alice' }))).status).toBe(200);
  held.release();
  expect(await refreshing).toMatchObject({ reason: 'signed_out' });
  await until(() => provider.revocations.length > 0);
  expect(tokenCaches(app.store).size).toBe(0);
  await expectSignedOut(browser, app);
});

test('B36: a handler that saves its older copy of the session afterwards brings nothing back', async () => {
  let release: () => void = () => undefined;
  let loaded: () => void = () => undefined;
  const isLoaded = new Promise<void>((resolve) => {
    loaded = resolve;
  });
  const { provider, app } = await open({
    routes: (site) => {
      site.get('/slow', async (req, res) => {
        loaded();
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        Object.assign(req.session, { visited: true });
        res.send('done');
      });
    },
  });
  const browser = await signedIn(app);
  const slow = browser.request(`${app.url}/slow`);
  await isLoaded;
  expect((await post(app, await provider.signLogoutToken({ sub: 'alice' }))).status).toBe(200);
  release();
  await slow;
  await expectSignedOut(browser, app);
});

test('the store or the keys are out of reach: 503, and the same token works when they are back', async () => {
  const store = countingStore();
  const { provider, app } = await open({ store });
  const browser = await signedIn(app);
  await provider.rotateKeys();
  const token = await provider.signLogoutToken({ sub: 'alice' });
  provider.down = { jwks: 500 };
  expect(await post(app, token)).toMatchObject({ status: 503, json: { error: 'temporarily_unavailable' } });
  provider.down = {};
  store.fault = { destroy: (sid) => (sid.startsWith('oidc.') ? undefined : 'fail') };
  expect((await post(app, token)).status).toBe(503);
  store.fault = {};
  expect((await post(app, token)).status).toBe(200);
  await expectSignedOut(browser, app);
});

describe('front-channel logout', () => {
  const visit = (app: TestApp, query: Record<string, string>) =>
    fetch(`${app.url}${ROUTES.frontchannelLogout}?${new URLSearchParams(query)}`);

  test.each(['iss and sid', 'sid alone'])('in the provider’s frame, without the cookie: %s', async (sent) => {
    const { provider, app } = await open();
    const [browser, other] = [await signedIn(app), await signedIn(app)];
    const iss = sent === 'sid alone' ? {} : { iss: provider.issuer };
    const answer = await visit(app, { ...iss, sid: await sidOf(browser, app) });
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store']);
    await expectSignedOut(browser, app);
    expect(await whoIs(other, app)).toBe('signed in as alice');
  });

  test('another issuer, or no session named: 400, and still signed in', async () => {
    const { provider, app } = await open();
    const browser = await signedIn(app);
    const sid = await sidOf(browser, app);
    for (const query of [{}, { iss: provider.issuer }, { iss: 'https://evil.example', sid }]) {
      expect((await visit(app, query)).status).toBe(400);
      expect((await browser.request(`${app.url}${ROUTES.frontchannelLogout}`)).status).toBe(400);
    }
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });
});

const testRedis = redisAvailable() ? test : test.skip;

describe('B38: over two processes', () => {
  async function two(stores: [Store, Store]) {
    const { provider, app } = await open({ store: stores[0] });
    const second = await openApp(provider, { store: stores[1], auth: { routes: ROUTES, ...KEYS } });
    const browser = await signedIn(app);
    browser.cookies.set(second.url, 'connect.sid', browser.cookies.get(app.url, 'connect.sid') ?? '');
    // Both have its token in memory.
    for (const process of [app, second]) {
      await silent(browser, process);
      expect(await silent(browser, process)).toMatchObject({ source: 'cache' });
    }
    const token = await provider.signLogoutToken({ sid: await sidOf(browser, app) });
    expect((await post(second, token)).status).toBe(200);
    expect((await post(app, token)).status).toBe(400);
    for (const process of [app, second]) await expectSignedOut(browser, process);
  }

  testRedis('Redis', async () => {
    const redis = closing(await startRedis());
    const store = async () => new RedisStore({ client: await redis.client() });
    await two([await store(), await store()]);
  });

  test.each(storeFactories.filter(({ name }) => !name.startsWith('MemoryStore')))(
    '$name',
    async ({ open }) => {
      const opened = closing(await open());
      await two([opened.store, opened.reopen().store]);
    },
  );
});
