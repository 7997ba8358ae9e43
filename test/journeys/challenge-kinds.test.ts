import { expect, test } from '@jest/globals';
import { requiresAuth } from 'express-oidc-tokens';
import { countingStore } from '../support/stores.ts';
import { fetchJson, open, start } from './challenge-setup.ts';

const NAVIGATE = { 'sec-fetch-mode': 'navigate' };
const PAGE = { ...NAVIGATE, 'sec-fetch-dest': 'document' };
const SCRIPT = { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' };
const HTML = { accept: 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8' };

type Row = [name: string, method: string, headers: Record<string, string>];

async function anonymous() {
  const store = countingStore();
  const journey = await start({
    signedIn: false,
    app: {
      store,
      routes: (app) => {
        app.all('/orders', async (req, res) => void res.json(await req.getToken('a')));
        app.all('/guarded', requiresAuth(), (_req, res) => void res.send('in'));
      },
    },
  });
  return { ...journey, store };
}

const REDIRECTED: Row[] = [
  ['a page navigation', 'GET', { ...HTML, ...PAGE }],
  ['a page navigation that takes anything', 'GET', { ...PAGE, accept: '*/*' }],
  ['a HEAD navigation', 'HEAD', { ...HTML, ...PAGE }],
  ['no Sec-Fetch, Accept names text/html', 'GET', HTML],
  ['no Sec-Fetch, HEAD', 'HEAD', HTML],
  ['no Sec-Fetch, text/html among others', 'GET', { accept: 'application/json, TEXT/HTML;q=0.5' }],
];

test.each(REDIRECTED)('%s → 302 to the provider', async (_name, method, headers) => {
  const { app, browser, provider, store } = await anonymous();
  for (const path of ['/orders', '/guarded']) {
    const answer = await browser.request(app.url + path, { method, headers });
    expect(answer).toMatchObject({ status: 302, text: '' });
    expect(answer.headers.location).toMatch(`${provider.issuer}/auth?`);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.headers['www-authenticate']).toBeUndefined();
  }
  expect(store.count('set', 'oidc.')).toBe(2);
});

const TOLD: Row[] = [
  ['fetch() with Accept: */*', 'GET', { ...SCRIPT, accept: '*/*' }],
  ['fetch() that asks for HTML', 'GET', { ...SCRIPT, ...HTML }],
  ['fetch() of the same origin', 'GET', { ...SCRIPT, 'sec-fetch-mode': 'same-origin', accept: '*/*' }],
  ['an XHR', 'GET', { ...SCRIPT, accept: 'application/json', 'x-requested-with': 'XMLHttpRequest' }],
  ['an image', 'GET', { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image', accept: 'image/*' }],
  ['fetch() with POST', 'POST', { ...SCRIPT, accept: '*/*' }],
  ['fetch() with PUT', 'PUT', { ...SCRIPT, ...HTML }],
  ['no Sec-Fetch, Accept: */*', 'GET', { accept: '*/*' }],
  ['no Sec-Fetch, Accept: text/*', 'GET', { accept: 'text/*' }],
  ['no Sec-Fetch, another type that begins like it', 'GET', { accept: 'text/html-fragment+json' }],
  ['no Sec-Fetch, no Accept', 'GET', {}],
  ['an API client with DELETE', 'DELETE', { accept: 'application/json' }],
  ['prefetch', 'GET', { ...HTML, ...PAGE, 'sec-purpose': 'prefetch' }],
  ['prerender', 'GET', { ...HTML, ...PAGE, 'sec-purpose': 'prefetch;prerender' }],
  ['prefetch in older words', 'GET', { ...HTML, purpose: 'prefetch' }],
  ['prefetch in Firefox’s words', 'GET', { ...HTML, 'x-moz': 'prefetch' }],
];

test.each(TOLD)('A22: %s → 401 JSON, no Location, nothing stored', async (_name, method, headers) => {
  const { app, browser, provider, store } = await anonymous();
  for (const [path, scopes] of [
    ['/orders', ['a']],
    ['/guarded', []],
  ] as const) {
    const answer = await browser.request(app.url + path, { method, headers });
    expect(answer.status).toBe(401);
    expect(answer.headers).toMatchObject({
      'content-type': expect.stringContaining('application/json'),
      'www-authenticate': expect.stringMatching(/^\w+ .*error="interaction_required"/),
      'cache-control': 'no-store',
    });
    expect(answer.headers.location).toBeUndefined();
    expect(answer.headers['set-cookie']).toBeUndefined();
    expect(JSON.parse(answer.text)).toEqual({
      error: 'interaction_required',
      loginUrl: expect.stringMatching(`^${app.url}/login\\?`),
      scopes,
    });
  }
  expect(store.calls).toEqual([]);
  expect(provider.discoveryCalls).toBe(0);
});

const PAGES: Row[] = [
  ['a POST navigation', 'POST', { ...HTML, ...PAGE }],
  ['a POST of an older browser', 'POST', HTML],
  ['a PUT navigation', 'PUT', { ...HTML, ...PAGE }],
];

test.each(PAGES)(
  'A24: %s needing the user → 401 page with a link, nothing stored',
  async (_name, method, headers) => {
    const { app, browser, store } = await anonymous();
    for (const path of ['/orders', '/guarded']) {
      const answer = await browser.request(app.url + path, { method, headers });
      expect(answer.status).toBe(401);
      expect(answer.headers['content-type']).toMatch('text/html');
      expect(answer.headers['www-authenticate']).toMatch('interaction_required');
      expect(answer.headers.location).toBeUndefined();
      expect(linkOf(answer.text).href).toMatch(`${app.url}/login?`);
      expect(linkOf(answer.text).target).toBeUndefined();
    }
    expect(store.calls).toEqual([]);
  },
);

test('A24: the link of the 401 page goes to the page with the form, where the POST then succeeds', async () => {
  const { app, browser } = await anonymous();
  const form = `${app.url}/?form`;
  const headers = { ...HTML, ...PAGE, referer: form };
  const refused = await browser.request(`${app.url}/orders`, { method: 'POST', headers, body: { n: '1' } });
  expect(await browser.navigate(linkOf(refused.text).href)).toMatchObject({ status: 200, url: form });
  const accepted = await browser.request(`${app.url}/orders`, { method: 'POST', headers, body: { n: '1' } });
  expect(JSON.parse(accepted.text)).toMatchObject({ source: 'cache', scopes: expect.arrayContaining(['a']) });
});

test.each(['iframe', 'frame', 'embed', 'object'])(
  'a navigation in %s → a small page with a target=_top link',
  async (dest) => {
    const { app, browser, store } = await anonymous();
    const url = `${app.url}/orders?n=1`;
    const answer = await browser.request(url, { headers: { ...HTML, ...NAVIGATE, 'sec-fetch-dest': dest } });
    expect(answer.status).toBe(401);
    expect(answer.headers.location).toBeUndefined();
    const { href, target } = linkOf(answer.text);
    expect(target).toBe('_top');
    expect(store.calls).toEqual([]);
    expect(await browser.navigate(href)).toMatchObject({ status: 200, url });
  },
);

test('a form sent inside an iframe → the same page; its link comes back to the page with the form', async () => {
  const { app, browser } = await anonymous();
  const form = `${app.url}/?form`;
  const headers = { ...HTML, ...NAVIGATE, 'sec-fetch-dest': 'iframe', referer: form };
  const answer = await browser.request(`${app.url}/orders`, { method: 'POST', headers, body: { n: '1' } });
  expect(answer.status).toBe(401);
  const { href, target } = linkOf(answer.text);
  expect(target).toBe('_top');
  expect(await browser.navigate(href)).toMatchObject({ status: 200, url: form });
});

test.each([
  ['prefetch', '/login'],
  ['prefetch;prerender', '/login'],
  ['prefetch', '/callback?code=c&state=old'],
  ['prefetch;prerender', '/callback?code=c&state=old'],
])('Sec-Purpose: %s of %s starts no login', async (purpose, path) => {
  const { app, browser, store } = await anonymous();
  const headers = { ...HTML, ...PAGE, 'sec-purpose': purpose };
  const answer = await browser.request(`${app.url}${path}`, { headers });
  expect(answer.status).toBeGreaterThanOrEqual(400);
  expect(answer.headers.location).toBeUndefined();
  expect(store.calls).toEqual([]);
  expect((await browser.request(`${app.url}${path}`, { headers: { ...HTML, ...PAGE } })).status).toBe(302);
});

test('a page that is signed in is asked nothing, however it is requested', async () => {
  const journey = await start({ app: { auth: { scopes: 'openid a' } } });
  expect((await open(journey, '/token?scope=a')).status).toBe(200);
  expect((await fetchJson(journey, '/token?scope=a')).status).toBe(200);
});

function linkOf(html: string): { href: string; target: string | undefined } {
  const [, href = '', target] = /<a href="([^"]+)"(?: target="([^"]+)")?>/.exec(html) ?? [];
  return { href: href.replaceAll('&amp;', '&'), target };
}
