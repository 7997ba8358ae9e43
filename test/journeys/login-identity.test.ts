import { afterEach, describe, expect, test } from '@jest/globals';
import type { AppOptions, TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { CookieJar } from '../support/cookie-jar.ts';
import { countingStore } from '../support/stores.ts';
import { dataOf, settled } from './session-slow-handler.ts';
import {
  atCallback,
  COOKIE,
  closeAll,
  expectAlive,
  newestRefreshToken,
  openApp,
  openBrowser,
  openClone,
  openProvider,
  providerHop,
  records,
  sessionId,
  silent,
  tokenCaches,
  until,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

/** A provider, an app whose `/note/…` keeps a note in the session, and a browser that left one while anonymous. */
async function withNote(options: AppOptions = {}) {
  const provider = await openProvider({ nextLogin: 'alice' });
  const app = await openApp(provider, {
    ...options,
    auth: { scopes: 'openid profile offline_access a', ...options.auth },
    routes: (routes) => {
      routes.get('/note{/:note}', (req, res) => {
        const data = dataOf(req);
        if (req.params.note) data.note = req.params.note;
        res.json(data.note ?? null);
      });
    },
  });
  const browser = openBrowser();
  expect(await noteOf(browser, app, '/basket')).toBe('basket');
  return { provider, app, browser };
}

/** Takes the cookies of one site alone. */
class PickyJar extends CookieJar {
  readonly #origin: string;

  constructor(origin: string) {
    super();
    this.#origin = origin;
  }

  override store(url: URL, lines?: readonly string[]): void {
    if (url.origin === this.#origin) super.store(url, lines);
  }
}

async function noteOf(browser: Browser, app: TestApp, set = ''): Promise<unknown> {
  return JSON.parse((await browser.request(`${app.url}/note${set}`)).text);
}

describe('B33: the session id at the login', () => {
  test('B33: it changes; the old one is worth nothing; the anonymous data comes along', async () => {
    const { app, browser } = await withNote();
    const planted = openClone(browser);
    const before = sessionId(browser, app);
    await browser.login(app);
    expect(sessionId(browser, app)).not.toBe(before);
    expect(await noteOf(browser, app)).toBe('basket');
    expect(await whoIs(planted, app)).toBe('anonymous');
    expect(await noteOf(planted, app)).toBeNull();
    expect(records(app.store).has(String(before))).toBe(false);
  });

  test('B33: also one that an attacker chose, and while the login was under way', async () => {
    const { app, browser } = await withNote();
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    const planted = openClone(browser);
    await browser.navigate(held!);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect(await whoIs(planted, app)).toBe('anonymous');
    const made = openBrowser();
    made.cookies.set(app.url, COOKIE, 's:chosen-by-an-attacker');
    await made.login(app);
    expect(sessionId(made, app)).not.toContain('chosen');
  });

  test('B33: the same user again: a new id, the data and the tokens kept', async () => {
    const { app, browser, provider } = await withNote();
    await browser.login(app);
    await silent(browser, app, 'scope=a');
    const before = sessionId(browser, app);
    const [cache] = tokenCaches(app.store).keys();
    await browser.login(app);
    expect(sessionId(browser, app)).not.toBe(before);
    expect(await noteOf(browser, app)).toBe('basket');
    expect([...tokenCaches(app.store).keys()]).toEqual([cache]);
    provider.clearCalls();
    expect(await silent(browser, app, 'scope=a')).toMatchObject({ source: 'cache' });
    expect(provider.revocations).toEqual([]);
    await expectAlive(browser, app);
  });

  test.each([
    ['by the login route', '/login'],
    ['at a challenge', '/token?scope=a'],
  ])('B33: another user, %s: the earlier one’s data and tokens are gone', async (_title, path) => {
    const { app, browser, provider } = await withNote({ auth: { scopes: 'openid offline_access' } });
    await browser.login(app);
    const earlier = openClone(browser);
    const [refreshToken] = provider.tokenCalls.map(({ answer }) => answer?.refresh_token);
    const [cache] = tokenCaches(app.store).keys();
    provider.nextLogin = 'bob';
    await browser.navigate(`${app.url}${path}`);
    expect(await whoIs(browser, app)).toBe('signed in as bob');
    expect(await noteOf(browser, app)).toBeNull();
    expect(tokenCaches(app.store).size).toBe(1);
    expect(records(app.store).get(String(cache))).toMatchObject({ tombstone: true });
    await until(() => provider.revocations.some(({ token }) => token === refreshToken));
    expect(await whoIs(earlier, app)).toBe('anonymous');
    expect(await noteOf(earlier, app)).toBeNull();
    expect(await silent(browser, app)).toMatchObject({ account: { subject: 'bob' } });
    await expectAlive(browser, app);
  });

  test('B33: nobody is signed in by the callback of somebody else’s login', async () => {
    const { app, browser: victim } = await withNote();
    const attacker = openBrowser({ account: 'mallory' });
    const { held } = await attacker.login(app, '/', { stopAt: atCallback });
    const page = await victim.navigate({ url: held!.url, from: 'https://attacker.example/' });
    expect(page.text).not.toContain('mallory');
    expect(await whoIs(victim, app)).not.toContain('mallory');
    expect(await noteOf(victim, app)).toBe('basket');
    await victim.login(app);
    expect(await victim.navigate({ url: held!.url, from: 'https://attacker.example/' })).toMatchObject({
      text: 'signed in as alice',
    });
  });

  test('B33: cookies that do not come back end in a page, not in a loop', async () => {
    const { app, provider } = await withNote();
    const browser = openBrowser({ jar: new PickyJar(provider.issuer) });
    const page = await browser.login(app, '/user');
    expect(page.status).toBe(400);
    expect(page.text).toContain('Allow cookies');
    expect(page.hops.filter(({ url }) => url.startsWith(`${provider.issuer}/auth?`))).toHaveLength(2);
  });
});

describe('afterLogin', () => {
  async function open(afterLogin: NonNullable<AppOptions['auth']>['afterLogin']) {
    const store = countingStore();
    const { app, browser, provider } = await withNote({ store, auth: { afterLogin: afterLogin! } });
    return { app, browser, provider, store };
  }

  test('runs after the id has changed, sees who it is and the kept data, before the session is saved', async () => {
    const seen: unknown[] = [];
    const { app, browser, store } = await open(async (req, { account, claims }) => {
      await new Promise(setImmediate);
      const stored = [...records(store).values()].some(({ oidc }) => oidc !== undefined);
      seen.push({ id: req.sessionID, note: dataOf(req).note, account, sub: claims.sub, stored });
      expect(req.oidc.isAuthenticated()).toBe(true);
      dataOf(req).note = 'from the hook';
    });
    const before = sessionId(browser, app);
    await browser.login(app);
    expect(seen).toEqual([
      {
        id: sessionId(browser, app),
        note: 'basket',
        account: expect.objectContaining({ subject: 'alice' }),
        sub: 'alice',
        stored: false,
      },
    ]);
    expect(sessionId(browser, app)).not.toBe(before);
    expect(await noteOf(browser, app)).toBe('from the hook');
    await expectAlive(browser, app);
  });

  test('gets a token, and may save the session itself', async () => {
    const { app, browser } = await open(async (req) => {
      const { accessToken } = await req.getTokenSilent('a');
      dataOf(req).note = accessToken;
      await settled((done) => void req.session.save(done));
    });
    await browser.login(app);
    expect(await silent(browser, app, 'scope=a')).toMatchObject({ accessToken: await noteOf(browser, app) });
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('not on the list');
      },
    ],
    ['rejects', () => Promise.reject(new Error('not on the list'))],
    [
      'rejects after a save',
      async (req: Parameters<NonNullable<NonNullable<AppOptions['auth']>['afterLogin']>>[0]) => {
        await settled((done) => void req.session.save(done));
        throw new Error('not on the list');
      },
    ],
  ] as const)(
    'when it %s nobody is signed in, no token stays, the refresh token is revoked',
    async (_title, hook) => {
      const { app, browser, provider, store } = await open(hook as () => void);
      const page = await browser.login(app);
      expect(page.status).toBe(500);
      expect(page.text).toContain('not on the list');
      expect(page.headers.location).toBeUndefined();
      expect(await whoIs(browser, app)).toBe('anonymous');
      const issued = newestRefreshToken(provider);
      await until(() => provider.revocations.some(({ token }) => token === issued));
      await until(() => tokenCaches(store).size === 0);
      await until(() => ![...records(store).values()].some(({ oidc }) => oidc !== undefined));
      expect(await browser.navigate(page.url)).toMatchObject({ status: 500 });
      expect(await whoIs(browser, app)).toBe('anonymous');
    },
  );

  test('when it throws for another user, nobody is signed in, the earlier one neither', async () => {
    const { app, browser, provider, store } = await open((_req, { account }) => {
      if (account.subject === 'bob') throw new Error('not on the list');
    });
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    provider.nextLogin = 'bob';
    expect(await browser.login(app)).toMatchObject({ status: 500 });
    expect(await whoIs(browser, app)).toBe('anonymous');
    await until(() => tokenCaches(store).size === 0);
    await until(() => provider.revocations.length === 2);
    provider.nextLogin = 'alice';
    const page = await browser.navigate(`${app.url}/token`);
    expect(providerHop(page, provider)).toBeDefined();
    await expectAlive(browser, app);
  });
});

describe.each(['destroy', 'set'] as const)('a login whose %s of the session fails', (operation) => {
  async function failing(before: (browser: Browser, app: TestApp) => Promise<unknown>, nextLogin = 'alice') {
    const store = countingStore();
    const opened = await withNote({ store });
    const { app, browser, provider } = opened;
    await before(browser, app);
    provider.nextLogin = nextLogin;
    const id = sessionId(browser, app);
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    store.fault = { [operation]: (sid: string) => (sid.startsWith('oidc.') ? undefined : 'fail') };
    expect(await browser.navigate(held!)).toMatchObject({ status: 503 });
    store.fault = {};
    expect(sessionId(browser, app)).toBe(id);
    expect(await noteOf(browser, app)).toBe('basket');
    return opened;
  }

  test('leaves the anonymous session as it was', async () => {
    const { app, browser } = await failing(async () => {});
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test('leaves the same user signed in', async () => {
    const { app, browser, provider } = await failing((browser, app) => browser.login(app));
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect(provider.revocations).toEqual([]);
    await expectAlive(browser, app);
  });

  test('leaves another user signed in', async () => {
    const { app, browser } = await failing((browser, app) => browser.login(app), 'bob');
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    await expectAlive(browser, app);
  });
});
