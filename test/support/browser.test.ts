import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { Browser } from './browser.ts';
import { restoreTime, travel } from './time.ts';

const servers: Server[] = [];
let app: string;
let other: string;

async function listen(routes: (app: Express) => void): Promise<string> {
  const site = express();
  site.use(express.urlencoded());
  routes(site);
  const server = site.listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

beforeAll(async () => {
  app = await listen((site) => {
    site.all(
      '/echo',
      (req, res) => void res.json({ method: req.method, headers: req.headers, body: req.body ?? null }),
    );
    site.get('/set', (req, res) => void res.append('set-cookie', String(req.query.line)).send('set'));
    site.all('/to', (req, res) => res.redirect(Number(req.query.status ?? 302), String(req.query.url)));
    site.get('/loop', (_req, res) => res.redirect('/loop'));
    site.get('/slow', (_req, res) => {
      res.writeHead(302, { location: '/echo' });
      res.write('a body that never ends');
    });
    site.get('/question', (_req, res) => {
      res.send(
        '<form method="post" action="/echo"><input name="a" value="&quot;1&amp;2&quot;"><button>Go</button></form>',
      );
    });
  });
  other = await listen((site) => {
    site.get('/form', (req, res) => {
      res.send(
        `<form method="post" action="${req.query.action}"><input type="hidden" name="code" value="&quot;x&quot;"/></form>
        <script>document.forms[0].submit()</script>`,
      );
    });
  });
});
afterEach(restoreTime);
afterAll(() => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
});

interface Echo {
  method: string;
  headers: Record<string, string | undefined>;
  body: unknown;
}

function setCookie(browser: Browser, line: string) {
  return browser.request(`${app}/set?line=${encodeURIComponent(line)}`);
}

test('a navigation says that it is one; a page’s fetch says that; a request says nothing', async () => {
  const browser = new Browser();
  const typed: Echo = JSON.parse((await browser.navigate(`${app}/echo`)).text);
  expect(typed.headers).toMatchObject({
    'sec-fetch-mode': 'navigate',
    'sec-fetch-dest': 'document',
    'sec-fetch-site': 'none',
    accept: expect.stringContaining('text/html'),
  });
  const { json } = await browser.fetchJson(`${app}/echo`, { referer: `${app}/page?x=1` });
  expect((json as Echo).headers).toMatchObject({
    'sec-fetch-mode': 'cors',
    'sec-fetch-dest': 'empty',
    'sec-fetch-site': 'same-origin',
    accept: '*/*',
    referer: `${app}/page?x=1`,
  });
  const bare: Echo = JSON.parse((await browser.request(`${app}/echo`)).text);
  expect(Object.keys(bare.headers).sort()).toEqual(['connection', 'host']);
  browser.close();
});

test('cookies: path, expiry by the travelled clock, deletion, one jar for each port', async () => {
  const browser = new Browser();
  const sent = async (path = '/echo') =>
    (JSON.parse((await browser.request(`${app}${path}`)).text) as Echo).headers.cookie;
  await setCookie(browser, 'a=1; Path=/; HttpOnly; Secure');
  await setCookie(browser, 'b=2; Path=/elsewhere');
  await setCookie(browser, 'c=3; Path=/; Max-Age=60');
  expect(await sent()).toBe('a=1; c=3');
  const tab = browser.clone();
  travel(61);
  expect(await sent()).toBe('a=1');
  await setCookie(browser, 'a=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT');
  expect(await sent()).toBeUndefined();
  expect(tab.cookies.get(app, 'a')).toBe('1');
  expect(tab.cookies.list(new URL(other).host)).toEqual([]);
  browser.close();
});

test('redirects: a POST becomes a GET except by 307; headers are enough; 20 hops are too many', async () => {
  const browser = new Browser();
  const land = async (status: number) => {
    const page = await browser.navigate(`${app}/to?status=${status}&url=/echo`, {
      method: 'POST',
      body: { a: '1' },
    });
    const { method, body } = JSON.parse(page.text) as Echo;
    return { method, body, hops: page.hops.map((hop) => hop.status) };
  };
  expect(await land(303)).toEqual({ method: 'GET', body: null, hops: [303, 200] });
  expect(await land(307)).toEqual({ method: 'POST', body: { a: '1' }, hops: [307, 200] });
  expect((await browser.navigate(`${app}/slow`)).url).toBe(`${app}/echo`);
  await expect(browser.navigate(`${app}/loop`)).rejects.toThrow('more than 20 hops');
  browser.close();
});

test('form_post from another site: submitted, without Lax cookies', async () => {
  const browser = new Browser();
  await setCookie(browser, 'lax=1; Path=/; SameSite=Lax');
  await setCookie(browser, 'unsaid=1; Path=/');
  await setCookie(browser, 'none=1; Path=/; SameSite=None; Secure');
  await setCookie(browser, 'refused=1; Path=/; SameSite=None');
  const page = await browser.navigate(`${other}/form?action=${app}/echo`);
  const echo: Echo = JSON.parse(page.text);
  expect(echo).toMatchObject({ method: 'POST', body: { code: '"x"' } });
  expect(echo.headers).toMatchObject({ cookie: 'none=1', origin: other, 'sec-fetch-site': 'cross-site' });
  const link: Echo = JSON.parse((await browser.navigate(`${app}/echo`, { from: `${other}/form` })).text);
  expect(link.headers.cookie).toBe('lax=1; unsaid=1; none=1');
  browser.close();
});

test('a navigation held back, and sent later, twice', async () => {
  const browser = new Browser();
  const stopAt = (url: URL) => url.pathname === '/echo';
  const page = await browser.navigate(`${other}/form?action=${app}/echo`, { stopAt });
  expect(page).toMatchObject({
    status: 0,
    url: `${app}/echo`,
    held: { method: 'POST', body: { code: '"x"' } },
  });
  const answers = await Promise.all([browser.navigate(page.held!), browser.navigate(page.held!)]);
  expect(answers.map(({ text }) => (JSON.parse(text) as Echo).body)).toEqual([
    { code: '"x"' },
    { code: '"x"' },
  ]);
  browser.close();
});

test('a page with a question stays until its button is pressed', async () => {
  const browser = new Browser();
  const page = await browser.navigate(`${app}/question`);
  expect(page.url).toBe(`${app}/question`);
  const { headers, body } = JSON.parse((await browser.submit(page, { go: 'yes' })).text) as Echo;
  expect(body).toEqual({ a: '"1&2"', go: 'yes' });
  expect(headers['sec-fetch-site']).toBe('same-origin');
  browser.close();
});
