import { afterEach, describe, expect, test } from '@jest/globals';
import { type AppOptions, startApp, type TestApp } from '../support/app.ts';
import type { Browser, Page } from '../support/browser.ts';
import { expectNoSecrets, surfaceRejections } from '../support/leaks.ts';
import type { Endpoint, TestProvider } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import {
  closeAll,
  expectAlive,
  expectEnded,
  newestRefreshToken,
  openApp,
  openBrowser,
  openProvider,
  records,
  signedIn,
  until,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

async function open(options: AppOptions = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, options);
  const browser = await signedIn(app, { account: 'alice' });
  return { provider, app, browser };
}

const leavesApp = (app: { url: string }) => (url: URL) => !url.href.startsWith(app.url);

/** Only the app's own answer to a logout. */
const logoutAnswer = (browser: Browser, app: TestApp, init: object = {}): Promise<Page> =>
  browser.navigate(`${app.url}/logout`, { stopAt: leavesApp(app), ...init });

describe('who may end a session', () => {
  const headers = (site?: string) => (site === undefined ? {} : { 'sec-fetch-site': site });

  test.each<[string, string, string | undefined]>([
    ['POST', 'the app’s own pages', 'same-origin'],
    ['POST', 'a script or an old browser, which do not say', undefined],
    ['GET', 'the app’s own pages', 'same-origin'],
    ['GET', 'the address bar', 'none'],
  ])('%s from %s: signed out', async (method, _title, site) => {
    const { app, browser } = await open();
    const answer = await browser.request(`${app.url}/logout`, { method, headers: headers(site) });
    expect(answer).toMatchObject({ status: 303, headers: { 'cache-control': 'no-store' } });
    await expectEnded(browser, app);
  });

  test.each<[string, string, string | undefined]>([
    ['GET', 'another site', 'cross-site'],
    ['GET', 'a sibling host', 'same-site'],
    ['GET', 'an old browser, which does not say', undefined],
    ['GET', 'who knows where', 'whatever'],
    ['POST', 'another site', 'cross-site'],
  ])('%s from %s: a page with a button, and still signed in', async (method, _title, site) => {
    const { app, browser, provider } = await open();
    const answer = await browser.request(`${app.url}/logout`, { method, headers: headers(site) });
    expect(answer).toMatchObject({
      status: 200,
      headers: { 'content-type': expect.stringMatching('text/html'), 'cache-control': 'no-store' },
    });
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect(provider.revocations).toEqual([]);

    const page = await browser.submit({ ...answer, hops: [] });
    expect(page.hops[0]).toMatchObject({ method: 'POST', status: 303 });
    expect(page).toMatchObject({ url: `${app.url}/`, text: 'anonymous' });
  });

  test('POST by an old browser: its Origin tells; the page with the button is not shown in frames', async () => {
    const { app, browser } = await open();
    const post = (origin: string) =>
      browser.request(`${app.url}/logout`, { method: 'POST', headers: { origin } });
    const answer = await post('https://attacker.example');
    expect(answer.status).toBe(200);
    expect(answer.headers['content-security-policy']).toContain("frame-ancestors 'none'");
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect((await post(app.url)).status).toBe(303);
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test('POST from a page that hides its origin is taken', async () => {
    const { app, browser } = await open();
    const init = { method: 'POST', headers: { origin: 'null' } };
    expect((await browser.request(`${app.url}/logout`, init)).status).toBe(303);
  });

  test('the button’s page takes no address from the URL', async () => {
    const { app, browser } = await open();
    const url = `${app.url}/logout?returnTo=https://attacker.example/&x="><script>`;
    const answer = await browser.request(url);
    expect(answer.text).not.toMatch(/attacker|<script/);
    expect(await browser.request(url, { method: 'POST' })).toMatchObject({
      headers: { location: expect.not.stringContaining('attacker') },
    });
  });

  test.each(['PUT', 'DELETE', 'HEAD'])('%s is no logout', async (method) => {
    const { app, browser } = await open();
    await browser.request(`${app.url}/logout`, { method, headers: headers('same-origin') });
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });

  test('nobody signed in: the same way, without an error', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    for (let time = 0; time < 2; time += 1)
      expect(await browser.navigate(`${app.url}/logout`)).toMatchObject({ status: 200, text: 'anonymous' });
    expect(records(app.store).size).toBe(0);
  });

  test('a double click', async () => {
    const { app, browser } = await open();
    const twice = [1, 2].map(() => browser.request(`${app.url}/logout`, { method: 'POST' }));
    expect((await Promise.all(twice)).map(({ status }) => status)).toEqual([303, 303]);
    await expectEnded(browser, app);
  });

  test('another session of the same user goes on', async () => {
    const { app, browser } = await open();
    const other = await signedIn(app, { account: 'alice' });
    await logoutAnswer(browser, app);
    expect(await whoIs(browser, app)).toBe('anonymous');
    await expectAlive(other, app);
  });
});

describe('at the provider', () => {
  test('RP-initiated, with the ID token as a hint: signed out there too, and back at the app', async () => {
    const { app, browser, provider } = await open();
    const idToken = provider.tokenCalls[0]?.answer?.id_token;
    const page = await browser.navigate(`${app.url}/logout`);
    const target = new URL(page.hops[0]?.location ?? '');
    expect(target.href).toContain(`${provider.issuer}/session/end?`);
    expect(Object.fromEntries(target.searchParams)).toMatchObject({
      id_token_hint: idToken,
      post_logout_redirect_uri: app.url,
      client_id: provider.client.clientId,
    });
    expect(page).toMatchObject({ status: 200, url: `${app.url}/`, text: 'anonymous' });
    // Whoever signs in next in this browser is asked who they are.
    const next = openBrowser({ account: 'bob', jar: browser.cookies });
    await next.login(app);
    expect(await whoIs(next, app)).toBe('signed in as bob');
  });

  test('the hint is the newest ID token', async () => {
    const { app, browser, provider } = await open();
    provider.settings.idTokenOnRefresh = true;
    await expectAlive(browser, app);
    const idToken = provider.refreshCalls[0]?.answer?.id_token;
    const page = await logoutAnswer(browser, app);
    expect(new URL(page.hops[0]?.location ?? '').searchParams.get('id_token_hint')).toBe(idToken);
  });

  test('without an end_session_endpoint: back at the app at once', async () => {
    const provider = await openProvider();
    provider.tamper = { discovery: ({ end_session_endpoint: _endpoint, ...document }) => document };
    const app = await openApp(provider);
    const browser = await signedIn(app);
    expect(await logoutAnswer(browser, app)).toMatchObject({
      hops: [{ status: 303, location: '/' }, { status: 200 }],
      text: 'anonymous',
    });
  });

  test('the refresh token is revoked, and the provider takes it no more', async () => {
    const { app, browser, provider } = await open();
    await expectAlive(browser, app);
    const newest = newestRefreshToken(provider);
    await logoutAnswer(browser, app);
    await until(() => provider.revocations.length > 0);
    expect(provider.revocations).toMatchObject([{ token: newest, token_type_hint: 'refresh_token' }]);
    await until(async () => (await provider.oidc.RefreshToken.find(newest)) === undefined);
  });

  test('no token in any answer or log but the hint that the provider is to get', async () => {
    const { app, browser, provider } = await open();
    const answer = await browser.request(`${app.url}/logout`, { method: 'POST' });
    expectNoSecrets([answer.headers, answer.text], provider, { except: ['id_token'] });
    expectNoSecrets(app.logText(), provider);
  });
});

describe('B37: the provider is down', () => {
  const down: [string, (provider: TestProvider) => Promise<void> | void][] = [
    ['nobody there', (provider) => provider.stop()],
    ...(['discovery', 'revocation'] as Endpoint[]).flatMap((endpoint) =>
      ([500, 'reset', 'hang'] as const).map((fault): [string, (provider: TestProvider) => void] => [
        `${endpoint}: ${fault}`,
        (provider) => {
          provider.down = { [endpoint]: fault };
        },
      ]),
    ),
  ];

  test.each(down)('B37: %s: logged out at once', async (_title, fault) => {
    const { app, browser, provider } = await open();
    await fault(provider);
    // Its metadata is known, and fresh.
    expect(await logoutAnswer(browser, app)).toMatchObject({ hops: [{ status: 303 }] });
    await expectEnded(browser, app);
    await surfaceRejections();
    await provider.stop();
  });

  test.each(down.slice(0, 4))(
    'B37: %s, and its metadata is old: logged out before it is asked',
    async (_title, fault) => {
      const { app, browser, provider } = await open({ session: { cookie: { maxAge: 86_400_000 } } });
      await fault(provider);
      travel(3700);
      const answer = logoutAnswer(browser, app);
      await until(() => ![...records(app.store).values()].some(({ oidc }) => oidc !== undefined));
      expect((await answer).hops[0]).toMatchObject({ status: 303 });
      await expectEnded(browser, app);
      await provider.stop();
    },
  );

  test('B37: never seen by this process: back at the app', async () => {
    const { app, browser, provider } = await open();
    const auth = { allowUnencryptedTokens: true };
    await provider.stop();
    const fresh = await openApp(provider, { auth, store: app.store });
    browser.cookies.set(fresh.url, 'connect.sid', browser.cookies.get(app.url, 'connect.sid') ?? '');
    expect(await logoutAnswer(browser, fresh)).toMatchObject({ status: 200, text: 'anonymous' });
    expect(await whoIs(browser, app)).toBe('anonymous');
  });
});

describe('res.oidc.logout', () => {
  async function withBye(returnTo: string, options: AppOptions = {}, endsSession = true) {
    const provider = await openProvider();
    if (!endsSession)
      provider.tamper = { discovery: ({ end_session_endpoint: _endpoint, ...document }) => document };
    const app = await openApp(provider, {
      ...options,
      routes: (routes) => {
        routes.post('/bye', (_req, res, next) => {
          res.oidc.logout({ returnTo }).catch(next);
        });
      },
    });
    const browser = await signedIn(app);
    const answer = await browser.request(`${app.url}/bye`, { method: 'POST' });
    expect(answer.status).toBe(303);
    await expectEnded(browser, app);
    return { app, provider, location: new URL(answer.headers.location ?? '', app.url) };
  }

  test('comes back to a path of the app', async () => {
    const { app, location } = await withBye('/see-you?x=1');
    expect(location.searchParams.get('post_logout_redirect_uri')).toBe(`${app.url}/see-you?x=1`);
    const local = await withBye('/see-you?x=1', {}, false);
    expect(local.location.href).toBe(`${local.app.url}/see-you?x=1`);
  });

  test('or to an address that the provider knows; without the provider’s logout not to another site', async () => {
    const { location } = await withBye('https://www.example/bye');
    expect(location.searchParams.get('post_logout_redirect_uri')).toBe('https://www.example/bye');
    const local = await withBye('https://www.example/bye', {}, false);
    expect(local.location.href).toBe(`${local.app.url}/`);
  });

  test.each(['//www.example', '/\\www.example', '/%2f/www.example', 'http://', 'javascript:alert(1)'])(
    '%s is no path of the app',
    async (returnTo) => {
      const { app, location } = await withBye(returnTo, {}, false);
      expect(location.href).toBe(`${app.url}/`);
    },
  );

  test.each(['//www.example', '/\\www.example', '/%2f/www.example'])(
    '%s is none at the provider either',
    async (returnTo) => {
      const { app, location } = await withBye(returnTo);
      expect(new URL(location.searchParams.get('post_logout_redirect_uri') ?? '').host).toBe(
        new URL(app.url).host,
      );
    },
  );

  test('below the path of the base URL', async () => {
    const probe = await startApp({ provider: await openProvider() });
    await probe.close();
    const { app, location } = await withBye('/see-you', {
      port: Number(new URL(probe.url).port),
      auth: { baseUrl: `${probe.url}/app` },
    });
    expect(location.searchParams.get('post_logout_redirect_uri')).toBe(`${app.url}/app/see-you`);
  });
});
