import { afterEach, describe, expect, test } from '@jest/globals';
import type { Store } from 'express-session';
import type { Answer, Browser, PendingRequest } from '../support/browser.ts';
import { storeFactories } from '../support/store-factories.ts';
import { countingStore, DistantStore, latencyStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { gate } from './get-token-stage.ts';
import {
  atCallback,
  closeAll,
  copySession,
  expectAlive,
  openApp,
  openBrowser,
  openClone,
  openProvider,
  records,
  sessionId,
  silent,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const KEYS = [{ kid: 'k1', key: Buffer.alloc(32, 1) }];

describe('B32: the same callback twice', () => {
  const answersOf = (
    first: Browser,
    second: Browser,
    held: PendingRequest,
    other: string,
  ): Promise<Answer[]> =>
    Promise.all([first.request(held.url), second.request(held.url.replace(new URL(held.url).origin, other))]);

  async function begin(count: number, store: Store = latencyStore(0, 30, 9)) {
    const provider = await openProvider();
    const auth = { encryptionKeys: KEYS };
    const app = await openApp(provider, { auth, store });
    const other =
      count === 1 ? app : await openApp(provider, { auth: { ...auth, baseUrl: app.url }, store: app.store });
    const browser = openBrowser();
    const { held } = await browser.login(app, '/user', { stopAt: atCallback });
    copySession({ browser, app }, { browser, app: other });
    provider.clearCalls();
    return { provider, app, other, browser, held: held! };
  }

  test.each([
    ['one middleware', 1],
    ['two middlewares over one store', 2],
  ])(
    'B32: in parallel, to %s: one redemption, and either answer alone signs in; alive',
    async (_title, count) => {
      const { provider, app, other, browser, held } = await begin(count);
      const tabs = { first: openClone(browser), second: openClone(browser) };
      const answers = await answersOf(tabs.first, tabs.second, held, other.url);
      expect(answers.map(({ status, headers }) => [status, headers.location])).toEqual([
        [302, '/user'],
        [302, '/user'],
      ]);
      expect(provider.tokenCalls).toHaveLength(1);
      const ids = [sessionId(tabs.first, app), sessionId(tabs.second, other)];
      expect(ids[0]).toBe(ids[1]);
      expect(ids[0]).not.toBe(sessionId(browser, app));
      expect(await whoIs(tabs.first, app)).toBe('signed in as alice');
      expect(await whoIs(tabs.second, other)).toBe('signed in as alice');
      await expectAlive(tabs.second, other);
      await expectAlive(tabs.first, app);
      expect(provider.tokenCalls.filter(({ status }) => status !== 200)).toEqual([]);
    },
  );

  test('B32: one after the other, by a browser that lost the first answer: signed in, alive', async () => {
    const { app, browser, held } = await begin(1);
    await openClone(browser).request(held.url);
    // Its session is gone, and with it the proof that it may have the new one: it signs in once more.
    const page = await browser.navigate(held);
    expect(page).toMatchObject({ status: 200, text: expect.stringContaining('"sub":"alice"') });
    expect(new URL(page.url).pathname).toBe('/user');
    await expectAlive(browser, app);
  });

  test('B32: ten times at once', async () => {
    const { provider, app, browser, held } = await begin(1);
    const tabs = Array.from({ length: 10 }, () => openClone(browser));
    await Promise.all(tabs.map((tab) => tab.request(held.url)));
    expect(provider.tokenCalls).toHaveLength(1);
    expect(new Set(tabs.map((tab) => sessionId(tab, app))).size).toBe(1);
    for (const tab of tabs) expect(await whoIs(tab, app)).toBe('signed in as alice');
  });

  test('B32: by somebody else, who saw the URL: not signed in by it, and the browser that owns it is', async () => {
    const { provider, app, browser, held } = await begin(1);
    const [own, thief] = [openClone(browser), openBrowser({ account: 'mallory' })];
    const [, stolen] = await Promise.all([own.request(held.url), thief.request(held.url)]);
    expect(stolen.headers.location).not.toBe('/user');
    expect(await whoIs(thief, app)).toBe('anonymous');
    expect(await whoIs(own, app)).toBe('signed in as alice');
    expect(await thief.request(held.url)).toMatchObject({ status: 302 });
    expect(await whoIs(thief, app)).toBe('anonymous');
    expect(provider.tokenCalls).toHaveLength(1);
  });

  test('B32: long after, signed in: back to the app; after a logout: a new sign-in, not the old session', async () => {
    const { provider, app, browser, held } = await begin(1);
    await browser.navigate(held);
    travel(120);
    expect(await browser.navigate(held)).toMatchObject({ url: `${app.url}/`, text: 'signed in as alice' });
    expect(provider.tokenCalls).toHaveLength(1);
    await browser.request(`${app.url}/logout`, { method: 'POST' });
    expect(await browser.request(held.url)).toMatchObject({
      status: 302,
      headers: { location: expect.stringContaining(`${provider.issuer}/auth?`) },
    });
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test('B32: right after a logout: not the session that just ended', async () => {
    const { app, browser, held } = await begin(1);
    const tab = openClone(browser);
    await tab.navigate(held);
    await tab.request(`${app.url}/logout`, { method: 'POST' });
    for (const back of [tab, browser]) {
      await back.request(held.url);
      expect(await whoIs(back, app)).toBe('anonymous');
    }
  });

  test.each(storeFactories.filter(({ name }) => !name.includes('away')))(
    'B32: once more after the next sign-in: still signed in (over $name)',
    async ({ open }) => {
      const opened = await open();
      const { app, browser, held } = await begin(1, opened.store);
      await browser.navigate(held);
      await browser.login(app);
      expect(await browser.navigate(held)).toMatchObject({ status: 200, url: `${app.url}/user` });
      expect(await silent(browser, app, 'force')).toMatchObject({ source: 'provider' });
      await closeAll();
      await opened.close();
    },
  );

  test('B32: a process that only waits for the outcome, over a store that fails: it tells nobody that the login failed', async () => {
    const first = new DistantStore();
    const { app, browser, held, provider } = await begin(1, first);
    const second = countingStore(
      Object.assign(new DistantStore(), { sessions: Reflect.get(first, 'sessions') }),
    );
    const patient = { baseUrl: app.url, storeReadTimeoutMs: 20_000, encryptionKeys: KEYS };
    const other = await openApp(provider, { store: second, auth: patient });
    copySession({ browser, app }, { browser, app: other });
    const [winner, loser] = [openClone(browser), openClone(browser)];
    const [looked, taken] = [gate(), gate()];
    const get = second.get.bind(second);
    let looks = 0;
    second.get = async (id, done) => {
      const isTransaction = /^oidc\.tx\.[^.]+$/.test(id);
      if (isTransaction) looks += 1;
      // It saw the login pending, and is about to take it.
      if (isTransaction && looks === 2) {
        looked.open();
        await taken.opened;
      }
      get(id, done);
    };
    second.fault = { get: (id) => (id.startsWith('oidc.tx.done.') ? 'fail' : undefined) };
    const late = loser.request(held.url.replace(app.url, other.url));
    await looked.opened;
    expect(await winner.request(held.url)).toMatchObject({ status: 302, headers: { location: '/user' } });
    const outcome = () => [...records(first)].find(([id]) => id.startsWith('oidc.tx.done.'))?.[1].payload;
    const published = outcome();
    expect(published).toEqual(expect.any(String));
    taken.open();
    expect((await late).status).toBe(503);
    expect(second.count('set', 'oidc.tx.done.')).toBe(0);
    expect(outcome()).toBe(published);
    expect(provider.tokenCalls).toHaveLength(1);
  });
});
