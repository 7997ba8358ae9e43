import { afterEach, describe, expect, test } from '@jest/globals';
import { MemoryStore, type SessionData, type Store } from 'express-session';
import type { TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { countingStore, latencyStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { dataOf, SlowHandler, savingWays, settled } from './session-slow-handler.ts';
import {
  closeAll,
  expectEnded,
  logOut,
  openApp,
  openProvider,
  records,
  sessionId,
  signedIn,
  until,
} from './session-support.ts';

afterEach(closeAll);

const HOUR = 3600;

/** Ended now, and when this process has forgotten about it. */
async function expectEndedForGood(browser: Browser, app: TestApp): Promise<void> {
  await expectEnded(browser, app);
  travel(HOUR);
  await expectEnded(browser, app);
}

async function signedInWith(store: Store, session = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, { store, session });
  const browser = await signedIn(app);
  return { provider, app, browser, id: String(sessionId(browser, app)) };
}

describe('B36: a handler that saves its older copy of the session after the logout', () => {
  test.each(savingWays)('B36: by %s: still logged out', async (_title, session, act) => {
    const { app, browser } = await signedInWith(new MemoryStore(), session);
    const slow = new SlowHandler();
    slow.mount(app, async (req) => {
      dataOf(req).note = 'written late';
      expect(req.oidc.isAuthenticated()).toBe(false);
      await expect(req.getTokenSilent()).rejects.toMatchObject({ reason: 'signed_out' });
      await act(req);
    });
    const answer = browser.request(`${app.url}/slow`);
    await slow.reached;
    await logOut(browser, app);
    slow.goOn();
    expect(await answer).toMatchObject({ status: 200 });
    await expectEndedForGood(browser, app);
  });

  test('B36: under a new id, with all that was in it: still logged out', async () => {
    const { app, browser } = await signedInWith(new MemoryStore());
    const slow = new SlowHandler();
    slow.mount(app, async (req) => {
      const { cookie: _cookie, ...data } = { ...req.session };
      await settled((done) => void req.session.regenerate(done));
      Object.assign(req.session, data, { note: 'kept' });
    });
    const answer = browser.request(`${app.url}/slow`);
    await slow.reached;
    await logOut(browser, app);
    slow.goOn();
    expect(await answer).toMatchObject({ status: 200, text: '"kept"' });
    expect(JSON.stringify([...records(app.store).values()])).toContain('kept');
    await expectEndedForGood(browser, app);
  });

  test('B36: after an end by the app’s own destroy()', async () => {
    const { app, browser } = await signedInWith(new MemoryStore());
    const slow = new SlowHandler();
    slow.mount(app, async (req) => {
      dataOf(req).note = 'written late';
    });
    app.express.get('/destroy', (req, res) => {
      req.session.destroy(() => res.json(true));
    });
    const answer = browser.request(`${app.url}/slow`);
    await slow.reached;
    await browser.request(`${app.url}/destroy`);
    slow.goOn();
    await answer;
    await expectEndedForGood(browser, app);
  });
});

/** Saves on `touch` what it is given, as stores of files do. */
function touchySessions(store: MemoryStore): MemoryStore {
  store.touch = (id: string, session: SessionData, done?: () => void) => {
    setTimeout(() => store.constructor.prototype.set.call(store, id, session, done), 50);
  };
  return store;
}

describe('B36: a write that is under way when the session ends', () => {
  test('B36: a save that reaches the store after the logout', async () => {
    const store = countingStore();
    const { app, browser, id } = await signedInWith(store);
    app.express.get('/write', (req, res) => {
      dataOf(req).note = 'under way';
      res.json(true);
    });
    store.calls.length = 0;
    store.fault = { set: (sid) => (sid === id ? 100 : undefined) };
    const answer = browser.request(`${app.url}/write`);
    await until(() => store.count('set', id) === 1);
    await logOut(browser, app);
    expect(await answer).toMatchObject({ status: 200 });
    await expectEndedForGood(browser, app);
  });

  test('B36: a touch that writes, and reaches the store after the logout', async () => {
    const store = countingStore(touchySessions(new MemoryStore()));
    const { app, browser, id } = await signedInWith(store);
    store.calls.length = 0;
    const answer = browser.request(`${app.url}/`);
    await until(() => store.count('touch', id) === 1);
    await logOut(browser, app);
    expect(await answer).toMatchObject({ status: 200 });
    await expectEndedForGood(browser, app);
  });

  test('B36: a touch that writes, begun after the logout', async () => {
    const { app, browser } = await signedInWith(touchySessions(new MemoryStore()));
    const slow = new SlowHandler();
    slow.mount(app, async () => {});
    const answer = browser.request(`${app.url}/slow`);
    await slow.reached;
    await logOut(browser, app);
    slow.goOn();
    await answer;
    await expectEndedForGood(browser, app);
  });

  test('B36: many requests at once around a logout, on a store far away', async () => {
    const { app, browser } = await signedInWith(latencyStore(0, 20, 11), { resave: true });
    for (let round = 0; round < 5; round += 1) {
      const before = Array.from({ length: 4 }, () => browser.request(`${app.url}/`));
      const ended = logOut(browser, app);
      const after = Array.from({ length: 4 }, () => browser.request(`${app.url}/`));
      await Promise.all([...before, ended, ...after]);
      await expectEnded(browser, app);
      await browser.login(app);
    }
  });
});
