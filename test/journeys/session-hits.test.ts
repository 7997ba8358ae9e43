import { afterEach, describe, expect, test } from '@jest/globals';
import { surfaceRejections } from '../support/leaks.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import {
  closeAll,
  openApp,
  openProvider,
  records,
  sessionId,
  signedIn,
  silent,
  tokenCaches,
  until,
} from './session-support.ts';

afterEach(closeAll);

const HOUR = 3600;
const DAY = 24 * HOUR;

describe('A25: what a hit costs', () => {
  test.each([
    ['by default', {}],
    ['with an expiring cookie', { cookie: { maxAge: DAY * 1000 } }],
  ])(
    'A25: %s, in memory: no store call but express-session’s own, no cookie, the session not dirty',
    async (_title, session) => {
      const provider = await openProvider();
      const store = countingStore();
      const app = await openApp(provider, { store, session });
      const browser = await signedIn(app);
      await silent(browser, app);
      const before = records(store).get(String(sessionId(browser, app)));

      store.calls.length = 0;
      const plain = await browser.request(`${app.url}/`);
      const own = store.calls.splice(0);
      expect(own.map(({ operation }) => operation)).toEqual(['get', 'touch']);
      for (let round = 0; round < 3; round += 1) {
        const hit = await browser.request(`${app.url}/token`);
        expect(JSON.parse(hit.text)).toMatchObject({ source: 'cache' });
        expect(store.calls.splice(0)).toEqual(own);
        expect([hit.headers['set-cookie'], plain.headers['set-cookie']]).toEqual([undefined, undefined]);
      }
      const { cookie: _before, ...data } = before as Record<string, unknown>;
      expect(records(store).get(String(sessionId(browser, app)))).toEqual({
        ...data,
        cookie: expect.anything(),
      });
    },
  );

  test('A25: with rolling: true, in memory: the same calls as any other page', async () => {
    const provider = await openProvider();
    const store = countingStore();
    const app = await openApp(provider, {
      store,
      session: { rolling: true, cookie: { maxAge: DAY * 1000 } },
    });
    const browser = await signedIn(app);
    await silent(browser, app);
    store.calls.length = 0;
    await browser.request(`${app.url}/`);
    const own = store.calls.splice(0);
    await browser.request(`${app.url}/token`);
    expect(store.calls).toEqual(own);
  });

  test('A25: after it ran out: one read of the sibling, no write', async () => {
    const provider = await openProvider();
    const store = countingStore();
    const app = await openApp(provider, { store });
    const browser = await signedIn(app);
    for (let minute = 0; minute < 3; minute += 1) {
      travel(61);
      store.calls.length = 0;
      expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
      expect(store.calls.filter(({ sid }) => sid.startsWith('oidc.'))).toEqual([
        { operation: 'get', sid: [...tokenCaches(store).keys()][0] },
      ]);
      expect(store.count('set')).toBe(0);
      store.calls.length = 0;
      await silent(browser, app);
      expect(store.count(undefined, 'oidc.')).toBe(0);
    }
  });

  test('A25: the memory is the session’s own: another one of the same user reads its own sibling', async () => {
    const provider = await openProvider();
    const store = countingStore();
    const app = await openApp(provider, { store });
    const one = await signedIn(app, { account: 'alice' });
    const { accessToken } = await silent(one, app);
    const other = await signedIn(app, { account: 'alice' });
    store.calls.length = 0;
    const theirs = await silent(other, app);
    expect(theirs).toMatchObject({ source: 'cache' });
    expect(theirs.accessToken).not.toBe(accessToken);
    expect(store.count('get', 'oidc.')).toBe(1);
  });
});

describe('A25: a sibling lives as long as its session', () => {
  const remaining = (store: Parameters<typeof tokenCaches>[0]) =>
    [...tokenCaches(store).values()].map(({ cookie }) => {
      const { expires } = cookie as { expires: string };
      return Math.round((Date.parse(expires) - Date.now()) / (HOUR * 1000));
    });

  test.each([
    ['with an age', { cookie: { maxAge: HOUR * 1000 } }, 2],
    ['of the browser, a day', {}, 48],
  ])('A25: it is stored for two lengths of a session %s', async (_title, session, hours) => {
    const provider = await openProvider();
    const app = await openApp(provider, { session });
    const browser = await signedIn(app);
    expect(remaining(app.store)).toEqual([hours]);
    travel(HOUR / 2);
    await silent(browser, app, 'force');
    expect(remaining(app.store)).toEqual([hours]);
  });

  test('A25: rolling: true, hits for three session lengths, then a refresh', async () => {
    const provider = await openProvider({ accessTokenTtl: DAY });
    const store = countingStore();
    const app = await openApp(provider, {
      store,
      session: { rolling: true, cookie: { maxAge: HOUR * 1000 } },
    });
    const browser = await signedIn(app);
    provider.clearCalls();
    let writes = 0;
    for (let minutes = 0; minutes < 180; minutes += 20) {
      travel(20 * 60);
      store.calls.length = 0;
      expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
      await surfaceRejections();
      writes += store.count('set', 'oidc.');
    }
    expect(provider.tokenCalls).toEqual([]);
    // Less than one length is left after three of these requests, then again after each fourth.
    expect(writes).toBeGreaterThanOrEqual(2);
    expect(writes).toBeLessThanOrEqual(3);
    expect(await silent(browser, app, 'force')).toMatchObject({ source: 'provider' });
    expect(provider.tokenCalls).toHaveLength(1);
  });

  test('A25: a session of the browser that is used for a week', async () => {
    const provider = await openProvider({ accessTokenTtl: 30 * DAY });
    const app = await openApp(provider);
    const browser = await signedIn(app);
    provider.clearCalls();
    for (let day = 0; day < 7; day += 1) {
      travel(DAY);
      expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
      await until(() => remaining(app.store)[0] === 48);
    }
    expect(provider.tokenCalls).toEqual([]);
    expect(await silent(browser, app, 'force')).toMatchObject({ source: 'provider' });
  });

  test('A25: a session that afterLogin makes longer', async () => {
    const provider = await openProvider({ refreshTokenTtl: 30 * DAY });
    const app = await openApp(provider, {
      auth: {
        afterLogin: (req) => {
          req.session.cookie.maxAge = 30 * DAY * 1000;
        },
      },
    });
    const browser = await signedIn(app);
    travel(20 * DAY);
    expect(await silent(browser, app)).toMatchObject({ source: 'provider', reason: 'expired' });
  });

  test('A25: a renewal that fails hurts nobody, and is made up for', async () => {
    const provider = await openProvider({ accessTokenTtl: DAY });
    const store = countingStore();
    const app = await openApp(provider, {
      store,
      session: { rolling: true, cookie: { maxAge: HOUR * 1000 } },
    });
    const browser = await signedIn(app);
    travel(50 * 60);
    await browser.request(`${app.url}/`);
    travel(50 * 60);
    store.fault = { set: 'fail' };
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    await until(() => app.logText().includes('could not be renewed'));
    await surfaceRejections();
    expect(remaining(store)).toEqual([0]);
    store.fault = {};
    travel(61);
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    await until(() => remaining(store)[0] === 2);
  });
});
