import { afterEach, describe, expect, test } from '@jest/globals';
import type { Page } from '../support/browser.ts';
import type { TestProvider } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import {
  atCallback,
  closeAll,
  expectAlive,
  openApp,
  openBrowser,
  openProvider,
  records,
  signedIn,
  silent,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

function expectUnavailable(page: Page): void {
  expect(page).toMatchObject({ status: 503, headers: { 'retry-after': expect.any(String) } });
  expect(page.headers.location).toBeUndefined();
  expect(page.text).toContain('Please try again in a moment');
}

describe('B39: down at boot', () => {
  test('B39: nobody there: public pages are served, the login answers 503, and it recovers without a restart', async () => {
    const provider = await openProvider();
    await provider.stop();
    const app = await openApp(provider);
    const browser = openBrowser();
    expect(await whoIs(browser, app)).toBe('anonymous');
    for (let time = 0; time < 2; time += 1) expectUnavailable(await browser.login(app));
    expect(await browser.navigate(`${app.url}/token`)).toMatchObject({ status: 503 });
    expect(await browser.fetchJson(`${app.url}/token`)).toMatchObject({ status: 401 });
    expect(records(app.store).size).toBe(0);
    await provider.restart();
    expect(await browser.login(app, '/user')).toMatchObject({ status: 200, url: `${app.url}/user` });
    await expectAlive(browser, app);
  });

  test.each<[string, 500 | 'reset']>([
    ['answers 500', 500],
    ['cuts connections', 'reset'],
  ])('B39: discovery that %s', async (_title, fault) => {
    const provider = await openProvider();
    provider.down = { discovery: fault };
    const app = await openApp(provider);
    const browser = openBrowser();
    expectUnavailable(await browser.login(app));
    expect(await whoIs(browser, app)).toBe('anonymous');
    provider.down = {};
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    await expectAlive(browser, app);
  });

  test('B39: discovery that answers something else', async () => {
    const provider = await openProvider();
    provider.tamper = { discovery: () => '<html>Down for maintenance</html>' };
    const app = await openApp(provider);
    const browser = openBrowser();
    expectUnavailable(await browser.login(app));
    provider.tamper = {};
    await browser.login(app);
    await expectAlive(browser, app);
  });

  test.each<[string, 500 | 'reset' | 'html']>([
    ['answer 500', 500],
    ['cut connections', 'reset'],
    ['are no keys', 'html'],
  ])(
    'B39: keys that %s: the callback answers 503, nobody is signed in unverified, and it recovers',
    async (_title, fault) => {
      const provider = await openProvider();
      if (fault === 'html') provider.tamper = { jwks: () => '<html>Down for maintenance</html>' };
      else provider.down = { jwks: fault };
      const app = await openApp(provider);
      const browser = openBrowser();
      const { held } = await browser.login(app, '/user', { stopAt: atCallback });
      expectUnavailable(await browser.navigate(held!));
      expect(await whoIs(browser, app)).toBe('anonymous');
      provider.down = {};
      provider.tamper = {};
      expect(await browser.login(app, '/user')).toMatchObject({ status: 200, url: `${app.url}/user` });
      await expectAlive(browser, app);
    },
  );

  test('B39: many visitors at once ask for the metadata once', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browsers = Array.from({ length: 10 }, () => openBrowser());
    await Promise.all(browsers.map((browser) => browser.login(app)));
    expect([provider.discoveryCalls, provider.jwksCalls]).toEqual([1, 1]);
  });

  test('B39: the app boots and serves pages while discovery hangs', async () => {
    const provider = await openProvider();
    provider.down = { discovery: 'hang' };
    const app = await openApp(provider);
    const browser = openBrowser();
    const login = browser.login(app).catch(() => undefined);
    expect(await whoIs(openBrowser(), app)).toBe('anonymous');
    await provider.stop();
    await login;
  });
});

test.each<[string, (provider: TestProvider) => Promise<unknown>, RegExp]>([
  [
    'nobody there',
    (provider) => provider.stop(),
    /could not be discovered \(ECONNREFUSED\).*"cause":"connect ECONNREFUSED/s,
  ],
  [
    'an error',
    async (provider) => (provider.down = { discovery: 500 }),
    /could not be discovered \(it answered 500\)/,
  ],
  [
    'something else',
    async (provider) => (provider.tamper = { discovery: () => '<html>' }),
    /could not be discovered \(OAUTH_PARSE_ERROR\)/,
  ],
])('the log says why discovery failed: %s', async (_title, fail, why) => {
  const provider = await openProvider();
  await fail(provider);
  const app = await openApp(provider);
  await openBrowser().login(app);
  expect(app.logText()).toMatch(why);
});

describe('B39: down later', () => {
  test.each<[string, number]>([
    ['at once', 0],
    ['when the metadata and the keys are old', 3700],
  ])('B39: %s: signed-in pages with valid tokens and the logout work', async (_title, seconds) => {
    const provider = await openProvider({ accessTokenTtl: 24 * 3600 });
    const app = await openApp(provider);
    const browser = await signedIn(app, { account: 'alice' });
    await provider.stop();
    travel(seconds);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect(JSON.parse((await browser.request(`${app.url}/user`)).text)).toMatchObject({ name: 'Alice' });
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    const stops = (url: URL) => !url.href.startsWith(app.url);
    expect(await browser.navigate(`${app.url}/logout`, { stopAt: stops })).toMatchObject({
      hops: [{ status: 303 }],
    });
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test('B39: discovery and keys fail, the rest of the provider works: logins go on with what was known', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    await signedIn(app);
    provider.down = { discovery: 500, jwks: 500 };
    travel(2 * 3600);
    const browser = await signedIn(app, { account: 'bob' });
    await expectAlive(browser, app);
    expect(app.logText()).toContain('could not be discovered again');
  });

  test('B39: the token expired and the provider down: 503 and still signed in; up again: alive', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = await signedIn(app);
    await provider.stop();
    travel(3601);
    const page = await browser.navigate(`${app.url}/token`);
    expect(page).toMatchObject({ status: 503, headers: { 'retry-after': expect.any(String) } });
    expect(page.hops).toHaveLength(1);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    await provider.restart();
    await expectAlive(browser, app);
  });

  test('B39: new keys at the provider: the next login finds them', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    await signedIn(app);
    await provider.rotateKeys();
    await expectAlive(await signedIn(app, { account: 'bob' }), app);
  });

  test('B39: metadata of another issuer is a mistake in the set-up, which the log explains and the page does not', async () => {
    const provider = await openProvider();
    provider.tamper = { discovery: (document) => ({ ...document, issuer: 'https://somebody.example' }) };
    const app = await openApp(provider);
    const browser = openBrowser();
    const page = await browser.login(app);
    expect(page).toMatchObject({ status: 500, text: expect.stringContaining('not set up correctly') });
    expect(page.text).not.toContain('somebody.example');
    expect(app.logText()).toContain('somebody.example');
    provider.tamper = {};
    await browser.login(app);
    await expectAlive(browser, app);
  });
});
