import { afterEach, describe, expect, test } from '@jest/globals';
import type { Browser, Page, PendingRequest } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { dataOf } from './session-slow-handler.ts';
import {
  atCallback,
  closeAll,
  expectAlive,
  openApp,
  openBrowser,
  openClone,
  openProvider,
  providerHop,
  records,
  sessionId,
  storeText,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

async function open(cookie: object = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, {
    auth: { responseMode: 'form_post', scopes: 'openid offline_access a' },
    session: { cookie },
    routes: (routes) => {
      routes.get('/note/:note', (req, res) => {
        dataOf(req).note = req.params.note;
        res.json(true);
      });
      routes.get('/note', (req, res) => void res.json(dataOf(req).note ?? null));
    },
  });
  const browser = openBrowser();
  await browser.request(`${app.url}/note/basket`);
  return { provider, app, browser };
}

/** The provider's POST, held before it reaches the app. */
async function postHeld(browser: Browser, app: { url: string }, path = '/user?a=1'): Promise<PendingRequest> {
  const { held } = await browser.login(app, path, { stopAt: atCallback });
  expect(held).toMatchObject({
    method: 'POST',
    body: { state: expect.any(String), code: expect.any(String) },
  });
  return held!;
}

const hopsAt = (page: Page, app: { url: string }) => page.hops.filter(({ url }) => url.startsWith(app.url));

describe('response_mode=form_post', () => {
  test.each([
    ['Lax by default', {}],
    ['Lax', { sameSite: 'lax' as const, maxAge: 86_400_000 }],
  ])('with a session cookie that is %s: left out of the POST, there for the GET', async (_title, cookie) => {
    const { app, browser, provider } = await open(cookie);
    const before = sessionId(browser, app);
    const page = await browser.login(app, '/user?a=1');
    expect(page).toMatchObject({ status: 200, url: `${app.url}/user?a=1` });
    expect(providerHop(page, provider)?.searchParams.get('response_mode')).toBe('form_post');
    expect(hopsAt(page, app).map(({ method, status }) => `${method} ${status}`)).toEqual([
      'GET 302',
      'POST 303',
      'GET 302',
      'GET 200',
    ]);
    // The code was in no URL of the app.
    for (const { url } of hopsAt(page, app)) expectNoSecrets(url, provider);
    expect(sessionId(browser, app)).not.toBe(before);
    expect((await browser.request(`${app.url}/note`)).text).toBe('"basket"');
    await expectAlive(browser, app);
  });

  test.each([
    ['by default', false],
    ['where every visitor gets one', true],
  ])(
    'the POST without a cookie makes no session, nor replaces the browser’s own: %s',
    async (_title, saveUninitialized) => {
      const provider = await openProvider();
      const app = await openApp(provider, {
        auth: { responseMode: 'form_post' },
        session: { saveUninitialized },
      });
      const browser = openBrowser();
      const held = await postHeld(browser, app);
      const before = sessionId(browser, app);
      const sessions = () => [...records(app.store).keys()].filter((id) => !id.startsWith('oidc.'));
      expect(sessions()).toEqual([before]);
      const posted = await browser.navigate(held, { stopAt: (_url, method) => method === 'GET' });
      expect(posted.hops).toMatchObject([{ method: 'POST', status: 303 }]);
      expect([sessionId(browser, app), sessions()]).toEqual([before, [before]]);
      await browser.navigate(posted.held!);
      expect(await whoIs(browser, app)).toBe('signed in as alice');
    },
  );

  test.each([
    ['a made-up one', 0],
    ['one that came too late', 16 * 60],
  ])('the POST of an unknown state takes no session away: %s', async (_title, seconds) => {
    const { app, browser } = await open();
    const held = await postHeld(browser, app);
    await browser.login(app);
    const session = sessionId(browser, app);
    const body = seconds === 0 ? { state: 'made-up', code: 'c' } : held.body!;
    travel(seconds);
    expect(await browser.navigate({ ...held, body })).toMatchObject({ text: 'signed in as alice' });
    expect(sessionId(browser, app)).toBe(session);
    expect((await browser.request(`${app.url}/note`)).text).toBe('"basket"');
  });

  test('the answer that was set aside is sealed, and good once', async () => {
    const { app, browser, provider } = await open();
    const held = await postHeld(browser, app);
    const posted = await browser.navigate(held, { stopAt: (_url, method) => method === 'GET' });
    expectNoSecrets(storeText(app.store), provider);
    const other = openClone(browser);
    await browser.navigate(posted.held!);
    provider.clearCalls();
    travel(61);
    const again = await browser.navigate(posted.held!);
    expect(again).toMatchObject({ url: `${app.url}/`, text: 'signed in as alice' });
    expect(provider.tokenCalls).toEqual([]);
    expect(await whoIs(other, app)).toBe('anonymous');
  });

  test('sent twice at once: one redemption, signed in', async () => {
    const { app, browser, provider } = await open();
    const held = await postHeld(browser, app);
    const tabs = [browser, openClone(browser)];
    await Promise.all(tabs.map((tab) => tab.navigate(held)));
    for (const tab of tabs) expect(await whoIs(tab, app)).toBe('signed in as alice');
    expect(provider.tokenCalls.length).toBeLessThanOrEqual(2);
    expect(provider.tokenCalls.every(({ status }) => status === 200)).toBe(true);
    await expectAlive(browser, app);
  });

  test('of somebody else’s login, posted by another site: nobody is signed in by it', async () => {
    const { app, browser: victim } = await open();
    const attacker = openBrowser({ account: 'mallory' });
    const held = await postHeld(attacker, app);
    const page = await victim.navigate({ ...held, from: 'https://attacker.example/' });
    expect(page.text).not.toContain('mallory');
    expect(await whoIs(victim, app)).not.toContain('mallory');
    expect((await victim.request(`${app.url}/note`)).text).toBe('"basket"');
  });

  test('a body that the app has parsed already', async () => {
    const provider = await openProvider();
    const { urlencoded } = (await import('express')).default;
    const app = await openApp(provider, {
      auth: { responseMode: 'form_post' },
      before: (routes) => routes.use(urlencoded()),
    });
    const browser = openBrowser();
    expect(await browser.login(app, '/user')).toMatchObject({ status: 200, url: `${app.url}/user` });
    await expectAlive(browser, app);
  });

  test('with a cookie for all sites the POST itself signs in', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, {
      auth: { responseMode: 'form_post' },
      session: { proxy: true, cookie: { sameSite: 'none', secure: true } },
      // As behind a proxy that ends TLS.
      before: (routes) => {
        routes.use((req, _res, next) => {
          req.headers['x-forwarded-proto'] = 'https';
          next();
        });
      },
    });
    const browser = openBrowser();
    const page = await browser.login(app, '/user');
    expect(page).toMatchObject({ status: 200, text: expect.stringContaining('alice') });
    expect(hopsAt(page, app).map(({ method, status }) => `${method} ${status}`)).toEqual([
      'GET 302',
      'POST 303',
      'GET 200',
    ]);
  });

  test.each(['fail', 'hang'] as const)(
    'where it cannot be set aside (%s): 503, and good once the store is back',
    async (fault) => {
      const provider = await openProvider();
      const store = countingStore();
      const auth = { responseMode: 'form_post' as const, storeReadTimeoutMs: 100, storeWriteTimeoutMs: 100 };
      const app = await openApp(provider, { store, auth });
      const browser = openBrowser();
      const held = await postHeld(browser, app);
      store.fault = { set: fault };
      const page = await browser.navigate(held);
      expect(page).toMatchObject({ status: 503, text: expect.stringContaining('try again') });
      expect(page.headers.location).toBeUndefined();
      store.fault = {};
      expect(await browser.navigate(held)).toMatchObject({ status: 200, url: `${app.url}/user?a=1` });
    },
  );

  test('a challenge comes back to its page the same way', async () => {
    const { app, browser } = await open();
    const page = await browser.navigate(`${app.url}/token?scope=a`);
    expect(page).toMatchObject({ status: 200, url: `${app.url}/token?scope=a` });
  });

  test.each<[string, PendingRequest['body'], Record<string, string>]>([
    ['empty', '', {}],
    ['without a state', { code: 'x' }, {}],
    ['of another kind', '{"state":"x","code":"y"}', { 'content-type': 'application/json' }],
    ['far too large', { state: 'x', code: 'y'.repeat(100_000) }, {}],
  ])('a POST that is %s: a page that says so, never a 500', async (_title, body, headers) => {
    const { app, browser } = await open();
    const page = await browser.navigate(`${app.url}/callback`, { method: 'POST', body: body!, headers });
    expect(page).toMatchObject({ status: 400, text: expect.stringContaining('Signing in did not work') });
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test('a POST where the answer was to come by a query is refused', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    const body = Object.fromEntries(new URL(held!.url).searchParams);
    const page = await browser.navigate(`${app.url}/callback`, { method: 'POST', body });
    expect(page.status).toBe(400);
    expect(await whoIs(browser, app)).toBe('anonymous');
    expect(await browser.navigate(held!)).toMatchObject({ text: 'signed in as alice' });
  });
});
