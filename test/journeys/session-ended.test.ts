import { afterEach, describe, expect, test } from '@jest/globals';
import { MemoryStore, type SessionOptions } from 'express-session';
import { travel } from '../support/time.ts';
import {
  atCallback,
  closeAll,
  copySession,
  expectAlive,
  expectEnded,
  heldAnswer,
  logOut,
  openApp,
  openClone,
  openProvider,
  signedIn,
  silent,
  until,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const keys = { encryptionKeys: [{ kid: 'k1', key: Buffer.alloc(32, 1) }] };

/** Two middlewares over one store; `other` has the session cookie of the browser too. */
async function twoApps(session: Partial<SessionOptions> = {}) {
  const provider = await openProvider();
  const app = await openApp(provider, { auth: keys, session });
  const other = await openApp(provider, { auth: keys, session, store: app.store });
  const browser = await signedIn(app, { account: 'alice' });
  copySession({ browser, app }, { browser, app: other });
  return { provider, app, other, browser };
}

function signal(): { give: () => void; given: Promise<void> } {
  let give: () => void = () => {};
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { give, given };
}

describe('B36: a logout while a refresh is in flight', () => {
  test.each(['the same middleware', 'another middleware over the same store'])(
    'B36: on %s: stays logged out, nothing readable left, the new refresh token revoked',
    async (where) => {
      const { provider, app, other, browser } = await twoApps();
      travel(3601);
      const { release, arrived } = heldAnswer(provider);
      const refreshing = silent(browser, app);
      await arrived;
      await logOut(browser, where === 'the same middleware' ? app : other);
      release();
      expect(await refreshing).toMatchObject({ name: 'InteractionRequiredError', reason: 'signed_out' });
      await expectEnded(browser, app);
      expect(await whoIs(browser, other)).toBe('anonymous');
      const fresh = provider.refreshCalls[0]?.answer?.refresh_token;
      await until(() => provider.revocations.some(({ token }) => token === fresh));
      expect(await provider.oidc.RefreshToken.find(String(fresh))).toBeUndefined();
    },
  );

  test('B36: a page that waits for the refresh is not signed in again by it', async () => {
    const { provider, app, browser } = await twoApps();
    travel(3601);
    const { release, arrived } = heldAnswer(provider);
    const slow = openClone(browser);
    const page = slow.navigate(`${app.url}/token`, { stopAt: (url) => !url.href.startsWith(app.url) });
    await arrived;
    await logOut(browser, app);
    release();
    expect(await page).toMatchObject({ hops: [{ status: 302 }] });
    await expectEnded(slow, app);
    await expectEnded(browser, app);
  });

  test('B36: a refresh in the background brings nothing back', async () => {
    const { provider, app, browser } = await twoApps();
    travel(3400);
    const { release, arrived } = heldAnswer(provider);
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    await arrived;
    await logOut(browser, app);
    release();
    const [call] = await provider.whenTokenCalls(1);
    // The call is recorded when it begins, its answer when it ends.
    await until(() => call?.answer !== undefined);
    await until(() => provider.revocations.some(({ token }) => token === call?.answer?.refresh_token));
    await expectEnded(browser, app);
  });

  test('B36: a callback in flight, of the session that was logged out, signs in anew and brings no old token back', async () => {
    const { provider, app, browser } = await twoApps();
    const old = provider.tokenCalls[0]?.answer?.refresh_token;
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    const { release, arrived } = heldAnswer(provider);
    const landing = openClone(browser).navigate(held!);
    await arrived;
    await logOut(browser, app);
    release();
    await landing;
    await until(() => provider.revocations.some(({ token }) => token === old));
    expect(await whoIs(browser, app)).toBe('anonymous');
  });

  test.each([
    ['here', true],
    ['in another process', false],
  ])(
    'B36: a callback whose tokens are stored when the session is logged out %s: a page that says so, and no session',
    async (_title, isHere) => {
      class SharedStore extends MemoryStore {}
      const provider = await openProvider();
      const [store, same] = [new SharedStore(), new SharedStore()];
      Object.assign(same, { sessions: (store as unknown as { sessions: object }).sessions });
      const app = await openApp(provider, { auth: keys, store });
      const [reached, passed] = [signal(), signal()];
      const afterLogin = async () => {
        reached.give();
        await passed.given;
      };
      const auth = { ...keys, baseUrl: app.url, afterLogin };
      const other = await openApp(provider, { auth, store: same });
      const browser = await signedIn(app);
      const { held } = await browser.login(app, '/', { stopAt: atCallback });
      copySession({ browser, app }, { browser, app: other });
      const landing = browser.request(held!.url.replace(app.url, other.url));
      await reached.given;
      await logOut(browser, isHere ? other : app);
      passed.give();
      expect(await landing).toMatchObject({
        status: 400,
        text: expect.stringContaining('signed out meanwhile'),
      });
      await expectEnded(browser, other);
    },
  );
});

describe('B36: a step-up login while a refresh is in flight', () => {
  test.each([
    ['the same middleware, the refresh answers last', false, true],
    ['the same middleware, the refresh answers first', false, false],
    ['another middleware, the refresh answers last', true, true],
    ['another middleware, the refresh answers first', true, false],
  ])('B36: on %s: signed in, alive', async (_title, isOther, refreshLast) => {
    const { provider, app, other, browser } = await twoApps();
    const login = isOther ? other : app;
    travel(3601);
    const { held } = await browser.login(login, '/', { stopAt: atCallback });
    const { release, arrived } = heldAnswer(provider);
    const refreshing = silent(openClone(browser), app);
    await arrived;
    if (refreshLast) await browser.navigate(held!);
    release();
    if (!refreshLast) await refreshing;
    expect(await refreshing).toMatchObject({ accessToken: expect.any(String) });
    if (!refreshLast) await browser.navigate(held!);
    for (const next of [login, app]) {
      copySession({ browser, app: login }, { browser, app: next });
      expect(await whoIs(browser, next)).toBe('signed in as alice');
      for (let round = 0; round < 2; round += 1) await expectAlive(browser, next);
    }
    expect(provider.tokenCalls.filter(({ status }) => status !== 200)).toEqual([]);
  });

  test('B36: a login that brings no refresh token: the one that the refresh brought is kept', async () => {
    const { provider, app, browser } = await twoApps();
    travel(3601);
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    const { release, arrived } = heldAnswer(provider);
    const refreshing = silent(openClone(browser), app);
    await arrived;
    provider.script({ mutate: ({ refresh_token: _none, ...answer }) => answer });
    await browser.navigate(held!);
    release();
    expect(await refreshing).toMatchObject({ accessToken: expect.any(String) });
    for (let round = 0; round < 2; round += 1) await expectAlive(browser, app);
    expect(provider.tokenCalls.filter(({ status }) => status !== 200)).toEqual([]);
  });
});
