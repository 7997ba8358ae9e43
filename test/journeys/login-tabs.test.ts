import { afterEach, describe, expect, test } from '@jest/globals';
import type { Browser, Page, PendingRequest } from '../support/browser.ts';
import { storeFactories } from '../support/store-factories.ts';
import { latencyStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import {
  atCallback,
  COOKIE,
  closeAll,
  expectAlive,
  openApp,
  openBrowser,
  openProvider,
  putRecord,
  records,
  sessionId,
  signedIn,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const challenge = (browser: Browser, app: { url: string }, scope: string) =>
  browser.navigate(`${app.url}/token?scope=${scope}&tab=${scope}`, { stopAt: atCallback });

function expectOwnPage(page: Page, app: { url: string }, scope: string): void {
  expect(page).toMatchObject({ status: 200, url: `${app.url}/token?scope=${scope}&tab=${scope}` });
  expect(JSON.parse(page.text).scopes).toContain(scope);
}

describe('B31: many logins of one browser at once', () => {
  test.each([
    ['the first tab first', ['a', 'b']],
    ['the second tab first', ['b', 'a']],
  ])(
    'B31: two tabs of an anonymous browser challenge at once, %s: each lands on its own URL',
    async (_title, order) => {
      const provider = await openProvider();
      const app = await openApp(provider);
      const browser = openBrowser();
      // The browser is known to the app: tabs of a browser without any cookie have no session in common.
      await browser.navigate(`${app.url}/login`, { stopAt: atCallback });
      const [a, b] = await Promise.all([challenge(browser, app, 'a'), challenge(browser, app, 'b')]);
      const held: Record<string, PendingRequest> = { a: a.held!, b: b.held! };
      for (const scope of order) expectOwnPage(await browser.navigate(held[scope]!), app, scope);
      await expectAlive(browser, app);
    },
  );

  test.each([
    ['the first tab first', ['a', 'b']],
    ['the second tab first', ['b', 'a']],
  ])(
    'B31: two tabs of a browser that was never here: one cookie is lost, and %s all is well',
    async (_title, order) => {
      const provider = await openProvider();
      const app = await openApp(provider);
      const browser = openBrowser();
      const [a, b] = await Promise.all([challenge(browser, app, 'a'), challenge(browser, app, 'b')]);
      const held: Record<string, PendingRequest> = { a: a.held!, b: b.held! };
      for (const scope of order) expectOwnPage(await browser.navigate(held[scope]!), app, scope);
      await expectAlive(browser, app);
    },
  );

  test('B31: both callbacks at the same moment', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { store: latencyStore(0, 20, 5) });
    const browser = openBrowser();
    await browser.navigate(`${app.url}/login`, { stopAt: atCallback });
    const [a, b] = await Promise.all([challenge(browser, app, 'a'), challenge(browser, app, 'b')]);
    const [pageA, pageB] = await Promise.all([browser.navigate(a.held!), browser.navigate(b.held!)]);
    expectOwnPage(pageA, app, 'a');
    expectOwnPage(pageB, app, 'b');
    await expectAlive(browser, app);
  });

  test('B31: callbacks that were sent with the cookie of a session that another tab ended meanwhile: each lands on its own URL', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    await browser.navigate(`${app.url}/login`, { stopAt: atCallback });
    const scopes = ['a', 'b', 'c'];
    const [first, ...late] = await Promise.all(scopes.map((scope) => challenge(browser, app, scope)));
    const cookie = `${COOKIE}=${browser.cookies.get(app.url, COOKIE)}`;
    expectOwnPage(await browser.navigate(first!.held!), app, 'a');
    const session = sessionId(browser, app);
    const answers = await Promise.all(
      late.map(({ held }) => browser.request(held!.url, { headers: { cookie } })),
    );
    // They do not take the new session away.
    expect(sessionId(browser, app)).toBe(session);
    for (const [index, { headers }] of answers.entries()) {
      const page = await browser.navigate(new URL(headers.location!, app.url));
      expectOwnPage(page, app, scopes[index + 1]!);
    }
    expect(provider.authorizations).toHaveLength(4);
    await expectAlive(browser, app);
  });

  test('B31: the session of a browser that was never here changes while a login begins anew: it does so once more', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    const fromAnotherTab = () => browser.request(`${app.url}/login`, { headers: { cookie: '' } });
    const { held } = await challenge(browser, app, 'a');
    await fromAnotherTab();
    const again = await browser.request(held!.url);
    expect(again.headers.location).toMatch(`${provider.issuer}/auth?`);
    await fromAnotherTab();
    expectOwnPage(await browser.navigate(again.headers.location!), app, 'a');
    await expectAlive(browser, app);
  });

  test('B31: callbacks that find another session each time end in a page, not in a loop', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    let page = await challenge(browser, app, 'a');
    for (let restarts = 0; page.held !== undefined; restarts += 1) {
      expect(restarts).toBeLessThan(5);
      await browser.request(`${app.url}/login`, { headers: { cookie: '' } });
      const { headers, status } = await browser.request(page.held.url);
      if (headers.location === undefined) {
        expect(status).toBe(400);
        return;
      }
      page = await browser.navigate(headers.location, { stopAt: atCallback });
    }
    throw new Error(`it ended at ${page.url}`);
  });

  test('B31: ten callbacks of a signed-in user at the same moment: all land on their own URLs', async () => {
    const provider = await openProvider();
    const auth = {
      encryptionKeys: [{ kid: 'k1', key: Buffer.alloc(32, 1) }],
      scopes: 'openid offline_access',
    };
    const app = await openApp(provider, { auth, store: latencyStore(1, 3, 5) });
    const browser = await signedIn(app);
    const scopes = ['a', 'b', 'c', 'x', 'y', 'z', 'read', 'write', 'mail.read', 'calendar.read'];
    const tabs = await Promise.all(scopes.map((scope) => challenge(browser, app, scope)));
    const pages = await Promise.all(tabs.map(({ held }) => browser.navigate(held!)));
    for (const [index, page] of pages.entries()) expectOwnPage(page, app, scopes[index]!);
    await expectAlive(browser, app);
  });

  test('B31: two tabs of a signed-in user that need more', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { scopes: 'openid profile offline_access' } });
    const browser = await signedIn(app);
    const [a, b] = [await challenge(browser, app, 'a'), await challenge(browser, app, 'b')];
    expectOwnPage(await browser.navigate(b.held!), app, 'b');
    expectOwnPage(await browser.navigate(a.held!), app, 'a');
    provider.clearCalls();
    for (const scope of ['a', 'b']) expectOwnPage(await challenge(browser, app, scope), app, scope);
    expect(provider.tokenCalls).toEqual([]);
    await expectAlive(browser, app);
  });

  test.each(storeFactories.filter(({ name }) => !name.includes('away')))(
    'B31: ten at once, in any order, on $name',
    async ({ open }) => {
      const opened = await open();
      const provider = await openProvider({ accessTokenTtl: 600 });
      const app = await openApp(provider, { store: opened.store });
      const browser = openBrowser();
      await browser.navigate(`${app.url}/login`, { stopAt: atCallback });
      const scopes = ['a', 'b', 'c', 'x', 'y', 'z', 'read', 'write', 'mail.read', 'calendar.read'];
      const tabs = await Promise.all(
        scopes.map(async (scope) => [scope, await challenge(browser, app, scope)] as const),
      );
      for (const [scope, { held }] of tabs.toReversed())
        expectOwnPage(await browser.navigate(held!), app, scope);
      await expectAlive(browser, app, 600);
      await closeAll();
      await opened.close();
    },
  );

  test('B31: the eleventh evicts the oldest, whose callback then signs in all the same, at the home page', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    const tabs: Page[] = [];
    const pending = () => [...records(app.store).keys()].filter((id) => id.startsWith('oidc.tx.'));
    const seen: string[] = [];
    for (let n = 0; n < 11; n += 1) {
      tabs.push(await browser.login(app, `/user?tab=${n}`, { stopAt: atCallback }));
      seen.push(...pending().filter((id) => !seen.includes(id)));
    }
    expect(seen).toHaveLength(11);
    expect(pending().sort()).toEqual(seen.slice(1).sort());
    const oldest = await browser.navigate(tabs[0]!.held!);
    expect(oldest.url).toBe(`${app.url}/`);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    // That was one more, for which the next one had to go.
    for (const n of [2, 10]) {
      const page = await browser.navigate(tabs[n]!.held!);
      expect(page.url).toBe(`${app.url}/user?tab=${n}`);
    }
    await expectAlive(browser, app);
  });

  test('B31: a login that was left lying for 15 minutes starts again', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = openBrowser();
    const { held } = await browser.login(app, '/user', { stopAt: atCallback });
    travel(901);
    const page = await browser.navigate(held!);
    expect(page.url).toBe(`${app.url}/`);
    expect(provider.authorizations).toHaveLength(2);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });
});

test.each<[string, (payload: string) => unknown]>([
  ['damaged', (payload) => payload.replace(/.{9}$/, 'AAAAAAAAA')],
  ['truncated', (payload) => payload.slice(0, 40)],
  ['no text', () => 7],
  ['gone', () => undefined],
])('B31: a pending login whose record is %s starts again, once', async (_title, change) => {
  const provider = await openProvider();
  const app = await openApp(provider);
  const browser = openBrowser();
  const { held } = await browser.login(app, '/user', { stopAt: atCallback });
  const [id, record] = [...records(app.store)].find(([key]) => key.startsWith('oidc.tx.'))!;
  putRecord(app.store, id, { ...record, payload: change(String(record.payload)) });
  expect(await browser.navigate(held!)).toMatchObject({ status: 200, text: 'signed in as alice' });
  expect(provider.authorizations).toHaveLength(2);
  expect(provider.tokenCalls).toHaveLength(1);
});
