import { afterEach, describe, expect, test } from '@jest/globals';
import type { AppOptions } from '../support/app.ts';
import { closeAll, openApp, openBrowser, openProvider } from './session-support.ts';

afterEach(closeAll);

const FOREIGN = 'attacker.example';

/** Addresses of another origin, as they are before the query encodes them. */
const foreign: [string, string][] = [
  ['a URL', `https://${FOREIGN}/`],
  ['two slashes', `//${FOREIGN}/`],
  ['slash, backslash', `/\\${FOREIGN}/`],
  ['two backslashes', `\\\\${FOREIGN}`],
  ['encoded slashes', `/%2f${FOREIGN}/`],
  ['encoded slashes alone', `%2f%2f${FOREIGN}`],
  ['encoded twice', `/%252f${FOREIGN}`],
  ['an encoded backslash', `/%5c${FOREIGN}`],
  ['a tab', `/\t/${FOREIGN}`],
  ['a tab before it', `\t//${FOREIGN}`],
  ['a line end', `/\r\n/${FOREIGN}`],
  ['an encoded line end', `/%0d%0aLocation:%20https://${FOREIGN}`],
  ['a dot', `/.//${FOREIGN}`],
  ['two dots', `/x/..//${FOREIGN}`],
  ['a script', `javascript:alert('${FOREIGN}')`],
  ['data', `data:text/html,${FOREIGN}`],
  ['no host', 'https:///'],
  ['nothing', ''],
];

async function open(options: AppOptions = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, {
    ...options,
    before: (routes) => {
      // Where the user ended up, whatever the path.
      routes.get('/page{/*rest}', (req, res) => void res.send(`page ${req.originalUrl}`));
    },
  });
  return { provider, app, browser: openBrowser() };
}

describe('returnTo of the login route', () => {
  test('never leaves the app’s origin', async () => {
    const { app, browser } = await open();
    for (const [title, address] of [
      ...foreign,
      ['userinfo', `${app.url.replace('://', `://${FOREIGN}@`)}/`],
    ]) {
      const page = await browser.login(app, address);
      const locations = page.hops
        .filter(({ url }) => url.startsWith(app.url))
        .map(({ location }) => location);
      expect({
        title,
        url: page.url,
        locations: locations.filter((text) => text?.includes(`${FOREIGN}/`)),
      }).toEqual({
        title,
        url: `${app.url}/`,
        locations: [],
      });
    }
  });

  test.each([
    '/page',
    '/page?a=1&b=%2F%2Fx&c=%26',
    '/page/%C3%BC/x%20y',
    '/page?next=https://other.example/',
    '/page/50%25',
    '/page/a%252Fb',
  ])('%s is kept as it is', async (path) => {
    const { app, browser } = await open();
    expect(await browser.login(app, path)).toMatchObject({ status: 200, text: `page ${path}` });
  });

  test('the app’s own address in full is a path of it; without any, home', async () => {
    const { app, browser } = await open();
    expect(await browser.login(app, `${app.url}/page?x=1`)).toMatchObject({ text: 'page /page?x=1' });
    expect(await browser.navigate(`${app.url}/login`)).toMatchObject({ url: `${app.url}/` });
    const twice = `${app.url}/login?returnTo=/page&returnTo=//${FOREIGN}`;
    expect(await browser.navigate(twice)).toMatchObject({ url: `${app.url}/` });
  });
});

describe('a challenge', () => {
  test.each(['//attacker.example/token', '/.//attacker.example/token', '/%2f/attacker.example/token'])(
    'of %s never leaves the app’s origin',
    async (path) => {
      const { provider, app, browser } = await open({
        routes: (routes) => {
          routes.use((req, res, next) => {
            if (!req.originalUrl.includes(FOREIGN)) return next();
            req.getToken('a').then(() => res.send('here'), next);
          });
        },
      });
      const page = await browser.navigate(`${app.url}${path}`);
      for (const { location, url } of page.hops) {
        const target = new URL(location ?? url, url);
        expect([new URL(app.url).host, new URL(provider.issuer).host]).toContain(target.host);
      }
    },
  );
});

describe('a sealed request of the login route', () => {
  const forged = (format: string) => {
    const payload = { returnTo: `https://${FOREIGN}/`, request: { scopes: ['a'] }, at: Date.now() / 1000 };
    const text = Buffer.from(JSON.stringify(payload)).toString('base64url');
    return `${format}.${text}`;
  };

  test.each([
    ['sealed', {}],
    ['not encrypted', { allowUnencryptedTokens: true }],
  ])('that somebody else wrote is none: %s', async (_title, auth) => {
    const { app, browser } = await open({ auth });
    const { json } = await browser.fetchJson(`${app.url}/token`, { referer: `${app.url}/page` });
    const { loginUrl } = json as { loginUrl: string };
    expect(await browser.navigate(loginUrl)).toMatchObject({ text: 'page /page' });
    const own = new URL(loginUrl).searchParams.get('request') ?? '';
    const parts = own.split('.');
    const payload = forged('').slice(1);
    const attempts = [
      forged('0'),
      forged('1'),
      parts.with(-1, payload).join('.'),
      parts.with(-1, Buffer.from('not JSON').toString('base64url')).join('.'),
      parts.with(-1, Buffer.from('{"at":9999999999}').toString('base64url')).join('.'),
      own.slice(0, -4),
      'x',
      '',
    ];
    for (const request of attempts) {
      const page = await browser.navigate(`${app.url}/login?request=${request}`);
      expect(page.hops.map(({ location }) => location).filter((text) => text?.includes(FOREIGN))).toEqual([]);
      expect(page.status).toBe(200);
    }
  });
});
