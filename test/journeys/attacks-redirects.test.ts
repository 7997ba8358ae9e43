import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { EVIL, expectSafe, heldCallback, sendRaw, whoIs } from './attacks-support.ts';

// Where users are sent: never to an address that somebody else chose.

const HOSTILE = [
  'https://evil.example/',
  '//evil.example/',
  '/\\evil.example',
  '\\\\evil.example',
  '/%2f/evil.example',
  '/%5cevil.example',
  '/%252fevil.example',
  '/.//evil.example',
  '/\t/evil.example',
  '/%09/evil.example',
  '/\r\nLocation: https://evil.example',
  '/%0d%0aLocation:%20https://evil.example',
  'javascript:alert(1)',
  'data:text/html,x',
];

let provider: TestProvider;
let app: TestApp;
let browser: Browser;

beforeAll(async () => {
  provider = await startProvider();
  app = await startApp({
    provider,
    routes: (site) => {
      site.get('/go', (req, res) => void res.oidc.login({ returnTo: String(req.query.to) }));
      site.get('/leave', (req, res) => void res.oidc.logout({ returnTo: String(req.query.to) }));
      site.post('/form', async (req, res) => void res.json(await req.getToken()));
    },
  });
});
beforeEach(() => {
  provider.clearCalls();
  provider.tamper = {};
  browser = new Browser({ account: 'alice' });
});
afterEach(() => browser.close());
afterAll(async () => {
  await app.close();
  await provider.close();
});

const ownHosts = () => new Set([new URL(app.url).host, new URL(provider.issuer).host]);

describe('the way back from a login', () => {
  test.each([
    ['/login?returnTo=', HOSTILE],
    ['/go?to=', HOSTILE],
    ['/login?returnTo=/ok&returnTo=', HOSTILE],
    [
      '/login?',
      [
        'returnTo[]=//evil.example',
        'returnTo[toString]=x',
        'returnTo',
        'request=0.x.e30',
        'request[]=1.x.x.x.x',
      ],
    ],
  ])('%s', async (start, hostile) => {
    for (const text of hostile) {
      const page = await browser.navigate(
        app.url + start + (start.endsWith('?') ? text : encodeURIComponent(text)),
      );
      expect(new URL(page.url).origin).toBe(app.url);
      for (const hop of page.hops) expect(ownHosts()).toContain(new URL(hop.url).host);
    }
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });

  test('an own path, with a query that names others, is kept', async () => {
    const page = await browser.login(app, '/user?next=https://evil.example//x');
    expect(page.url).toBe(`${app.url}/user?next=https://evil.example//x`);
  });

  test('a Referer of another site is not the way back', async () => {
    for (const referer of [
      `${EVIL}/page`,
      '//evil.example',
      `${app.url}@evil.example/`,
      'javascript:alert(1)',
    ]) {
      const { json } = await browser.fetchJson(`${app.url}/token`, { headers: { referer } });
      const page = await browser.navigate((json as { loginUrl: string }).loginUrl);
      expect(new URL(page.url).origin).toBe(app.url);
      browser.cookies.clear(app.url);
    }
  });
});

describe('the way back from a logout', () => {
  test('the route takes none from outside', async () => {
    await browser.login(app);
    const page = await browser.navigate(
      `${app.url}/logout?returnTo=${EVIL}&post_logout_redirect_uri=${EVIL}`,
    );
    for (const hop of page.hops) expect(ownHosts()).toContain(new URL(hop.url).host);
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test('the app may pass on what users sent: without the provider’s logout it stays at home', async () => {
    provider.tamper.discovery = (document) => ({ ...document, end_session_endpoint: undefined });
    const local = await startApp({
      provider,
      routes: (site) => {
        site.get('/leave', (req, res) => void res.oidc.logout({ returnTo: String(req.query.to) }));
      },
    });
    for (const text of HOSTILE) {
      const answer = await browser.request(`${local.url}/leave?to=${encodeURIComponent(text)}`);
      expect(answer).toMatchObject({ status: 303, headers: { location: '/' } });
    }
    await local.close();
  });

  test('and what is no URL at all does not break the logout', async () => {
    await browser.login(app);
    const answer = await browser.request(`${app.url}/leave?to=${encodeURIComponent('https://')}`);
    expect(answer.status).toBe(303);
    expect(await whoIs(browser, app)).toBe('anonymous');
  });
});

describe('logout CSRF', () => {
  const isSignedIn = async () => (await whoIs(browser, app)) === 'signed in as alice';

  test.each<[string, string, Record<string, string>]>([
    ['a link of another site', 'GET', { 'sec-fetch-site': 'cross-site' }],
    ['a link of a sibling site', 'GET', { 'sec-fetch-site': 'same-site' }],
    ['a browser that says nothing', 'GET', {}],
    ['a form of another site', 'POST', { 'sec-fetch-site': 'cross-site' }],
  ])('%s: a page with a button', async (_name, method, headers) => {
    await browser.login(app);
    const page = await browser.request(`${app.url}/logout?x=1`, { method, headers });
    expectSafe(page, { app, provider, only: [200] });
    expect(page.text).toContain('<form method="post" action="/logout">');
    expect(await isSignedIn()).toBe(true);
  });

  test('its button, and the app’s own link, sign out', async () => {
    for (const [method, site] of [
      ['POST', 'same-origin'],
      ['GET', 'same-origin'],
      ['GET', 'none'],
    ] as const) {
      await browser.login(app);
      const answer = await browser.request(`${app.url}/logout`, {
        method,
        headers: { 'sec-fetch-site': site },
      });
      expectSafe(answer, { app, provider, only: [303] });
      expect(await isSignedIn()).toBe(false);
    }
  });
});

describe('headers that name another host', () => {
  const headers = {
    host: 'evil.example',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'https',
    forwarded: 'host=evil.example',
    'x-original-url': '//evil.example',
  };
  const lying = async (path: string, more: Record<string, string> = {}) =>
    browser.request(app.url + path, { headers: { ...headers, ...more } });
  const navigation = { 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': 'none' };

  test.each(['/login', '/token', '/callback', '/go?to=/x'])('%s: the redirect URI stays', async (path) => {
    const { status, headers: answer } = await lying(path, navigation);
    expect(status).toBe(302);
    const location = new URL(String(answer.location));
    expect(location.origin).toBe(provider.issuer);
    expect(location.searchParams.get('redirect_uri')).toBe(`${app.url}/callback`);
  });

  test('loginUrl, and the pages’ links', async () => {
    const { loginUrl } = JSON.parse((await lying('/token')).text);
    expect(new URL(loginUrl).origin).toBe(app.url);
    for (const answer of [await lying('/callback?state=r.x'), await lying('/logout')])
      expect(answer.text).not.toContain('evil');
  });

  test('logout', async () => {
    await browser.login(app);
    const { headers: answer } = await lying('/logout', navigation);
    const location = new URL(String(answer.location));
    expect(location.searchParams.get('post_logout_redirect_uri')).toBe(app.url);
    expect(location.href).not.toContain('evil');
  });

  test.each(['http://evil.example', '//evil.example', '/\\evil.example', '/x/..'])(
    'a request line with %s in front of the path',
    async (prefix) => {
      for (const [method, path] of [
        ['GET', '/login'],
        ['GET', '/logout'],
        ['GET', '/token'],
        ['GET', '/callback?state=x'],
        ['GET', '/callback?state=r.x'],
        ['POST', '/form'],
      ]) {
        const accept = 'Accept: text/html';
        const answer = await sendRaw(
          app,
          `${method} ${prefix}${path} HTTP/1.1\r\nHost: evil.example\r\n${accept}\r\nConnection: close\r\n\r\n`,
        );
        expect(answer.status).toBeLessThan(500);
        if (answer.status !== 404) {
          expectSafe(answer, { app, provider });
          expect(answer.text).not.toMatch(/(href|action)="(https?:)?[/\\]{2}evil/);
        }
        expect(decodeURIComponent(answer.headers.location ?? '')).not.toMatch(/redirect_uri=https?:\/\/evil/);
      }
    },
  );
});

test('a callback held back keeps its own way back, whatever is added to it', async () => {
  const callback = await heldCallback(browser, app, '/user');
  callback.searchParams.set('returnTo', EVIL);
  callback.searchParams.set('redirect_uri', EVIL);
  expect((await browser.navigate(callback)).url).toBe(`${app.url}/user`);
});
