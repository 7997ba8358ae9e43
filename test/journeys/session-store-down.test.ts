import { afterEach, describe, expect, test } from '@jest/globals';
import type { TestApp } from '../support/app.ts';
import type { Browser, Page } from '../support/browser.ts';
import { expectNoSecrets, surfaceRejections } from '../support/leaks.ts';
import type { TestProvider } from '../support/provider.ts';
import { storeFactories } from '../support/store-factories.ts';
import { type Counted, countingStore, type StoreFault, type StoreFaults } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import {
  atCallback,
  closeAll,
  expectAlive,
  openApp,
  openBrowser,
  openProvider,
  signedIn,
  silent,
  tokenCaches,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const deadlines = { storeReadTimeoutMs: 150, storeWriteTimeoutMs: 150 };

const ofTransactions = (fault: StoreFault) => (sid: string) =>
  sid.startsWith('oidc.tx.') ? fault : undefined;
const ofSessions = (fault: StoreFault) => (sid: string) => (sid.startsWith('oidc.') ? undefined : fault);
const ofCaches = (fault: StoreFault) => (sid: string) => (/^oidc\.\w{64}$/.test(sid) ? fault : undefined);

async function open() {
  const provider = await openProvider();
  const store = countingStore();
  const app = await openApp(provider, { store, auth: deadlines });
  return { provider, store, app };
}

type Answer = Pick<Page, 'status' | 'headers' | 'text'>;

/** An answer that says when to try again, and sends nobody anywhere. */
function expectUnavailable(answer: Answer): void {
  expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': expect.stringMatching(/^\d+$/) } });
  expect(answer.headers.location).toBeUndefined();
}

/** A page of our own, which tells nothing of the inside; an error of `getToken` is shown by the app. */
function expectUnavailablePage(answer: Answer): void {
  expectUnavailable(answer);
  expect(answer.text).toMatch(/<\/html>/);
  expect(answer.text).not.toMatch(/\.[jt]s:\d+|node_modules|the store failed/);
}

async function recovered(browser: Browser, app: TestApp, store: Counted): Promise<void> {
  store.fault = {};
  await surfaceRejections();
  await browser.login(app);
  expect(await whoIs(browser, app)).toBe('signed in as alice');
  await expectAlive(browser, app);
}

describe.each(['fail', 'hang'] as const)('B35: the store’s answer: %s', (fault) => {
  test.each<[string, StoreFaults]>([
    ['the transaction', { set: ofTransactions(fault) }],
    ['the session', { set: ofSessions(fault) }],
  ])('B35: at the login route, writing %s: 503, no redirect', async (_title, faults) => {
    const { app, store, provider } = await open();
    const browser = openBrowser();
    store.fault = faults;
    expectUnavailablePage(await browser.login(app));
    expect(provider.authorizations).toEqual([]);
    await recovered(browser, app, store);
  });

  test.each<[string, StoreFaults]>([
    ['reading the transaction', { get: ofTransactions(fault) }],
    ['consuming the transaction', { set: ofTransactions(fault) }],
    ['writing the token cache', { set: ofCaches(fault) }],
    ['reading the token cache', { get: ofCaches(fault) }],
    ['changing the session id', { destroy: ofSessions(fault) }],
    ['writing the session', { set: ofSessions(fault) }],
  ])('B35: at the callback, %s: 503, no redirect, nobody signed in', async (_title, faults) => {
    const { app, store, provider } = await open();
    const browser = openBrowser();
    const { held } = await browser.login(app, '/user', { stopAt: atCallback });
    store.fault = faults;
    const page = await browser.navigate(held!);
    expectUnavailablePage(page);
    expectNoSecrets(page.text, provider);
    store.fault = {};
    expect(await whoIs(browser, app)).toBe('anonymous');
    await recovered(browser, app, store);
    expectNoSecrets(app.logText(), provider);
  });

  test.each<[string, StoreFaults]>([
    ['consuming the transaction', { set: ofTransactions(fault) }],
    ['writing the token cache', { set: ofCaches(fault) }],
    ['writing the session', { set: ofSessions(fault) }],
  ])('B35: the callback loaded again after %s did not work: signed in', async (_title, faults) => {
    const { app, store } = await open();
    const browser = openBrowser();
    const { held } = await browser.login(app, '/user', { stopAt: atCallback });
    store.fault = faults;
    expectUnavailablePage(await browser.navigate(held!));
    store.fault = {};
    const page = await browser.navigate(held!);
    expect(page).toMatchObject({ status: 200, text: expect.stringContaining('alice') });
    await expectAlive(browser, app);
  });

  test('B35: at the challenge of a page: 503, no redirect', async () => {
    const { app, store } = await open();
    const browser = openBrowser();
    store.fault = { set: fault };
    expectUnavailable(await browser.navigate(`${app.url}/token`));
    await recovered(browser, app, store);
  });

  test('B35: at a hit, reading the token cache: 503, and signed in as before', async () => {
    const { app, store } = await open();
    const browser = await signedIn(app);
    store.fault = { get: ofCaches(fault) };
    expectUnavailable(await browser.navigate(`${app.url}/token`));
    expect(await whoIs(browser, app)).toMatch('signed in');
    store.fault = {};
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    await expectAlive(browser, app);
  });

  test('B35: with the token in memory: served without the store', async () => {
    const { app, store } = await open();
    const browser = await signedIn(app);
    await silent(browser, app);
    store.fault = { get: ofCaches(fault), set: fault };
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
  });

  test('B35: with the token expired: 503, no grant without the lease, no redirect', async () => {
    const { app, store, provider } = await open();
    const browser = await signedIn(app);
    travel(3601);
    provider.clearCalls();
    store.fault = { get: ofCaches(fault) };
    expectUnavailable(await browser.navigate(`${app.url}/token`));
    expect(provider.tokenCalls).toEqual([]);
    store.fault = {};
    expect(await silent(browser, app)).toMatchObject({ source: 'provider' });
  });

  test('B35: at the commit of a refresh: nobody sees the token before it is stored; then it is, by one grant', async () => {
    const { app, store, provider } = await open();
    const browser = await signedIn(app);
    travel(3601);
    provider.clearCalls();
    store.fault = { set: ofCaches(fault) };
    const answers = [1, 2, 3].map(() => silent(browser, app));
    await provider.whenTokenCalls(1);
    const seen = tokenCaches(store);
    expect(
      await Promise.race([...answers, new Promise((resolve) => setTimeout(resolve, 300, 'waiting'))]),
    ).toBe('waiting');
    expect(tokenCaches(store)).toEqual(seen);
    store.fault = {};
    for (const answer of answers)
      expect(await answer).toMatchObject({ accessToken: provider.tokenCalls[0]?.answer?.access_token });
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive(browser, app);
  });

  test('B35: at the logout: no token of it is left to this process, and no redirect as if all were well', async () => {
    const { app, store } = await open();
    const browser = await signedIn(app);
    store.fault = { destroy: ofSessions(fault), set: ofCaches(fault) };
    expectUnavailablePage(await browser.navigate(`${app.url}/logout`));
    expect(await whoIs(browser, app)).toBe('anonymous');
    store.fault = {};
    expect(await whoIs(browser, app)).toBe('anonymous');
    expect(await silent(browser, app)).toMatchObject({ reason: 'signed_out' });
    await recovered(browser, app, store);
  });
});

test('B35: a session that could not be destroyed is still one: what it says next is saved', async () => {
  const { app, store } = await open();
  app.express.get('/destroy', (req, res) => {
    req.session.destroy((error) => res.json(error instanceof Error));
  });
  app.express.get('/note/:note', (req, res) => {
    const data = req.session as unknown as { note?: string };
    const { note } = data;
    data.note = req.params.note;
    res.json(note ?? null);
  });
  const browser = openBrowser();
  await browser.request(`${app.url}/note/first`);
  store.fault = { destroy: 'fail' };
  expect((await browser.request(`${app.url}/destroy`)).text).toBe('true');
  store.fault = {};
  expect((await browser.request(`${app.url}/note/second`)).text).toBe('"first"');
  expect((await browser.request(`${app.url}/note/third`)).text).toBe('"second"');
  await browser.login(app);
  expect(await whoIs(browser, app)).toMatch('signed in');
});

describe('B35: a slow store', () => {
  async function slow(
    faults: StoreFaults,
  ): Promise<{ app: TestApp; provider: TestProvider; browser: Browser }> {
    const provider = await openProvider();
    const store = countingStore();
    const app = await openApp(provider, { store });
    store.fault = faults;
    return { app, provider, browser: openBrowser() };
  }

  test('B35: every write takes 400 ms: who follows a Location as soon as it is there is signed in by one login', async () => {
    const { app, provider, browser } = await slow({ set: 400 });
    const page = await browser.login(app, '/user');
    expect(page.url).toBe(`${app.url}/user`);
    expect(JSON.parse(page.text)).toMatchObject({ sub: 'alice' });
    expect(provider.authorizations).toHaveLength(1);
    expect(provider.tokenCalls).toHaveLength(1);
  });

  test.each(['', 'force'])('B35: a commit that is late, and arrives: one grant (%s)', async (query) => {
    const { app, provider, store } = await open();
    const browser = await signedIn(app);
    travel(3601);
    provider.clearCalls();
    // Its deadline is 150 ms, and what is tried again comes to it as late.
    store.fault = { set: (sid) => ofCaches(200)(sid) };
    expect(await silent(browser, app, query)).toMatchObject({
      accessToken: provider.tokenCalls[0]?.answer?.access_token ?? expect.any(String),
    });
    store.fault = {};
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive(browser, app);
  });

  test('B35: a process that stood still for longer than the deadlines does not blame the store', async () => {
    const provider = await openProvider();
    const store = countingStore();
    const auth = { storeReadTimeoutMs: 30, storeWriteTimeoutMs: 30 };
    const app = await openApp(provider, { store, auth });
    const standStill = () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
      return undefined;
    };
    const browser = openBrowser();
    store.fault = { get: (sid) => (sid.startsWith('oidc.') ? standStill() : undefined), set: standStill };
    await browser.login(app);
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    expect(await silent(browser, app, 'force')).toMatchObject({ source: 'provider' });
    store.fault = {};
    expect([provider.authorizations.length, provider.tokenCalls.length]).toEqual([1, 2]);
  });

  test('B35: the challenge is stored before the redirect leaves, too', async () => {
    const { app, provider, browser } = await slow({ set: 300 });
    const page = await browser.navigate(`${app.url}/token`);
    expect(page).toMatchObject({ status: 200, url: `${app.url}/token` });
    expect(provider.authorizations).toHaveLength(1);
  });

  test('B35: the session is gone before the redirect of a logout leaves', async () => {
    const { app, browser } = await slow({});
    await browser.login(app);
    const stolen = browser.clone();
    const { held } = await browser.navigate(`${app.url}/logout`, {
      stopAt: (url) => !url.href.startsWith(app.url),
    });
    expect(held).toBeDefined();
    expect(await whoIs(stolen, app)).toBe('anonymous');
    stolen.close();
  });
});

test('B35: a session that cannot be kept longer: the answer is whole, and its connection stays', async () => {
  const opened = await storeFactories.find(({ name }) => name === 'session-file-store')!.open();
  try {
    const store = countingStore(opened.store);
    const app = await openApp(await openProvider(), { store, auth: { storeWriteTimeoutMs: 300 } });
    const browser = await signedIn(app);
    await silent(browser, app);
    for (const touch of ['hang', 'fail'] as const) {
      store.fault = { touch };
      for (const _ of [1, 2, 3]) expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    }
    const warnings = app.logs.filter(({ message }) => message === 'A session was not kept longer');
    expect(warnings.map(({ details }) => details)).toEqual([
      ...Array(3).fill({ error: 'The session store did not keep the session within 300 ms.' }),
      ...Array(3).fill({ error: 'The session store could not keep the session.' }),
    ]);
    await closeAll();
  } finally {
    await opened.close();
  }
});
