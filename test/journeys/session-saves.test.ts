import { afterEach, describe, expect, test } from '@jest/globals';
import type { Request } from 'express';
import type { TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { latencyStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { dataOf, SlowHandler, savingWays, settled } from './session-slow-handler.ts';
import {
  closeAll,
  copySession,
  expectAlive,
  heldAnswer,
  newestRefreshToken,
  openApp,
  openProvider,
  providerHop,
  sessionId,
  signedIn,
  silent,
  storeText,
  tokenCaches,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const unencrypted = { allowUnencryptedTokens: true };

describe('B34: a handler that loaded the session before a refresh and saves it after', () => {
  test.each(savingWays)(
    'B34: by %s: the field is saved, the newest refresh token stays, alive',
    async (_title, session, act) => {
      const provider = await openProvider();
      const app = await openApp(provider, { session, auth: unencrypted });
      const slow = new SlowHandler();
      slow.mount(app, async (req) => {
        dataOf(req).note = 'written late';
        await act(req);
      });
      app.express.get('/note', (req, res) => void res.json(dataOf(req).note ?? null));
      const browser = await signedIn(app);
      const answer = browser.request(`${app.url}/slow`);
      await slow.reached;
      await expectAlive(browser, app);
      slow.goOn();
      expect(await answer).toMatchObject({ status: 200 });
      expect(storeText(app.store)).toContain(newestRefreshToken(provider));
      expect((await browser.request(`${app.url}/note`)).text).toBe('"written late"');
      for (let round = 0; round < 2; round += 1) await expectAlive(browser, app);
      expect(provider.tokenCalls.filter(({ status }) => status !== 200)).toEqual([]);
    },
  );

  test('B34: by reload(): the same, and the handler goes on with the session as it is', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const slow = new SlowHandler();
    slow.mount(app, async (req) => {
      await settled((done) => void req.session.reload(done));
      expect((await req.getTokenSilent()).source).toBe('cache');
      dataOf(req).note = 'after reload';
    });
    const browser = await signedIn(app);
    const answer = browser.request(`${app.url}/slow`);
    await slow.reached;
    await expectAlive(browser, app);
    slow.goOn();
    expect(await answer).toMatchObject({ status: 200, text: '"after reload"' });
    await expectAlive(browser, app);
  });

  test('B34: many of them at once, on a store far away, over many expiries', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { store: latencyStore(0, 10, 3), session: { resave: true } });
    app.express.get('/write/:n', (req, res, next) => {
      req.getTokenSilent().then(({ accessToken }) => {
        dataOf(req)[`n${req.params.n}`] = true;
        res.json(accessToken);
      }, next);
    });
    const browser = await signedIn(app);
    for (let expiry = 1; expiry <= 5; expiry += 1) {
      travel(3601);
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, n) => browser.request(`${app.url}/write/${n}`)),
      );
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
      expect(provider.refreshCalls).toHaveLength(expiry);
    }
  });
});

describe('B34: the app changes the session id itself', () => {
  const regenerate = (req: Request, keep: Record<string, unknown> = {}) =>
    settled((done) =>
      req.session.regenerate((error) => {
        Object.assign(req.session, keep);
        done(error);
      }),
    );

  async function regenerated(act: (req: Request) => Promise<void>) {
    const provider = await openProvider();
    const app = await openApp(provider);
    app.express.get('/regenerate', (req, res, next) => {
      act(req).then(() => res.json(true), next);
    });
    const browser = await signedIn(app);
    const before = sessionId(browser, app);
    expect(await browser.request(`${app.url}/regenerate`)).toMatchObject({ status: 200 });
    return { provider, app, browser, before };
  }

  test('B34: and drops what was in it: a challenge, never a 500', async () => {
    const { provider, app, browser } = await regenerated((req) => regenerate(req, { note: 'new' }));
    expect(await whoIs(browser, app)).toBe('anonymous');
    const page = await browser.navigate(`${app.url}/token`);
    expect(providerHop(page, provider)).toBeDefined();
    expect(page).toMatchObject({ status: 200, url: `${app.url}/token` });
    await expectAlive(browser, app);
  });

  test('B34: and asks for a token after it, in the same request: a challenge, never a 500', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    app.express.get('/regenerate', (req, res, next) => {
      regenerate(req)
        .then(() => req.getToken())
        .then((answer) => res.json(answer), next);
    });
    const browser = await signedIn(app);
    expect(await browser.fetchJson(`${app.url}/regenerate`)).toMatchObject({
      status: 401,
      json: { error: 'interaction_required' },
    });
    expect(await browser.fetchJson(`${app.url}/regenerate`)).toMatchObject({ status: 401 });
  });

  test('B34: and keeps what was in it: the tokens come along', async () => {
    const { app, browser, before } = await regenerated((req) => {
      const { cookie: _cookie, ...data } = { ...req.session };
      return regenerate(req, data);
    });
    expect(sessionId(browser, app)).not.toBe(before);
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    await expectAlive(browser, app);
  });

  test('B34: while a refresh of the same session is in flight', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    app.express.get('/regenerate', (req, res, next) => {
      const { cookie: _cookie, ...data } = { ...req.session };
      regenerate(req, data).then(() => res.json(true), next);
    });
    const browser = await signedIn(app);
    travel(3601);
    const { release, arrived } = heldAnswer(provider);
    const refreshing = silent(browser, app);
    await arrived;
    await browser.request(`${app.url}/regenerate`);
    release();
    expect(await refreshing).toMatchObject({ source: 'provider' });
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });
    await expectAlive(browser, app);
  });

  test.each<[string, (req: Request) => unknown]>([
    ['destroys the session', (req) => settled((done) => void req.session.destroy(done))],
    ['sets req.session to null', (req) => Reflect.set(req, 'session', null)],
  ])('B34: and %s before it sends the user to the login: signed in anew', async (_title, act) => {
    const provider = await openProvider();
    const app = await openApp(provider);
    app.express.get('/again', async (req, res) => {
      await act(req);
      await res.oidc.login({ returnTo: '/user' });
    });
    const browser = await signedIn(app);
    const before = sessionId(browser, app);
    expect(JSON.parse((await browser.navigate(`${app.url}/again`)).text)).toMatchObject({ sub: 'alice' });
    expect(sessionId(browser, app)).not.toBe(before);
    await expectAlive(browser, app);
  });

  test('B34: destroy() by the app takes the tokens with it', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    app.express.get('/destroy', (req, res, next) => {
      settled((done) => void req.session.destroy(done)).then(() => res.json(true), next);
    });
    const browser = await signedIn(app);
    const stolen: { browser: Browser; app: TestApp } = { browser: await signedIn(app), app };
    copySession({ browser, app }, stolen);
    expect(tokenCaches(app.store).size).toBe(2);
    expect(await browser.request(`${app.url}/destroy`)).toMatchObject({ status: 200 });
    expect(tokenCaches(app.store).size).toBe(1);
    expect(await whoIs(stolen.browser, app)).toBe('anonymous');
  });
});
