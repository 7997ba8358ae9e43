import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, describe, expect, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import type { TestApp } from '../support/app.ts';
import { R1, R2, type TestProvider } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import {
  closeAll,
  expectAlive,
  openApp,
  openBrowser,
  openProvider,
  signedIn,
  silent,
  tokenCaches,
} from './session-support.ts';

afterEach(closeAll);

const jwtResources = {
  [R1]: { scopes: 'read write', format: 'jwt' as const },
  [R2]: { scopes: 'read write', format: 'jwt' as const },
};

describe('A28: many sessions and resources at once', () => {
  test.each([
    ['on one middleware', 1],
    ['on two middlewares over one store', 2],
  ])('A28: nobody ever gets a token with another sub or aud, %s', async (_title, count) => {
    const provider = await openProvider({ resources: jwtResources });
    const auth = {
      scopes: 'openid offline_access read write',
      resources: { one: { resource: R1, scopes: 'read' }, two: { resource: R2, scopes: 'read' } },
      // Both must read what the other one wrote.
      encryptionKeys: [{ kid: 'k1', key: Buffer.alloc(32, 7) }],
    };
    const first = await openApp(provider, { auth });
    const apps = [first];
    while (apps.length < count) apps.push(await openApp(provider, { auth, store: first.store }));
    const browsers = await Promise.all(
      ['alice', 'alice', 'bob'].map(async (account) => ({
        account,
        browser: await signedIn(first, { account }),
      })),
    );
    for (const { browser } of browsers) {
      for (const app of apps)
        browser.cookies.set(app.url, 'connect.sid', browser.cookies.get(first.url, 'connect.sid') ?? '');
    }
    const round = async () => {
      const asked = browsers.flatMap(({ account, browser }) =>
        apps.flatMap((app) =>
          [R1, R2].flatMap((resource) =>
            ['read', 'write', ''].map((scope) => ({ account, browser, app, resource, scope })),
          ),
        ),
      );
      return Promise.all(
        asked.map(async ({ account, browser, app, resource, scope }) => {
          const answer = await silent(browser, app, new URLSearchParams({ resource, scope }).toString());
          return { account, resource, answer };
        }),
      );
    };
    for (let expiry = 0; expiry < 3; expiry += 1) {
      for (const { account, resource, answer } of await round()) {
        expect(answer).toMatchObject({ account: { subject: account }, accessToken: expect.any(String) });
        const { sub, aud } = decodeJwt(String(answer.accessToken));
        expect({ sub, aud }).toEqual({ sub: account, aud: resource });
      }
      travel(3601);
    }
    // Two sessions of one user never share a token.
    const query = `resource=${R1}&scope=read`;
    const own = await Promise.all(browsers.map(({ browser }) => silent(browser, first, query)));
    expect(new Set(own.map(({ accessToken }) => accessToken)).size).toBe(3);
    expect(provider.tokenCalls.filter(({ status }) => status !== 200)).toEqual([]);
  });

  test('A28: a new user in the same browser never gets the tokens of the one before', async () => {
    const provider = await openProvider({ nextLogin: 'alice' });
    const app = await openApp(provider);
    const browser = openBrowser();
    await browser.login(app);
    const before = await silent(browser, app);
    provider.nextLogin = 'bob';
    await browser.login(app);
    const after = await silent(browser, app);
    expect(after).toMatchObject({ account: { subject: 'bob' } });
    expect(after.accessToken).not.toBe(before.accessToken);
  });
});

describe('A26: a cache has bounds', () => {
  const sizeOf = (app: TestApp) =>
    Math.max(...[...tokenCaches(app.store).values()].map(({ payload }) => payload.length));

  /** The provider's own tokens are short and slow to make; nothing else of its answers is changed. */
  function answerQuickly(provider: TestProvider, size: number): void {
    let given = 0;
    provider.scriptAlways(({ params }) => {
      given += 1;
      const access_token = `${given}.${'x'.repeat(size)}`;
      return { json: { access_token, token_type: 'Bearer', expires_in: 3600, scope: params.scope } };
    });
  }

  test('A26: beyond maxTokens those stored first go, the refresh token never', async () => {
    const scopes = Array.from({ length: 30 }, (_, n) => `scope-${n}`);
    const provider = await openProvider({ scopes });
    const auth = { scopes: ['openid', 'offline_access', ...scopes], maxTokens: 10 };
    const app = await openApp(provider, { auth });
    const browser = await signedIn(app);
    // The login's own token would answer all of them.
    travel(3601);
    for (const scope of scopes) {
      travel(1);
      expect(await silent(browser, app, `scope=${scope}`)).toMatchObject({ source: 'provider' });
    }
    travel(61);
    provider.clearCalls();
    for (const scope of scopes.slice(-10))
      expect(await silent(browser, app, `scope=${scope}`)).toMatchObject({ source: 'cache' });
    expect(await silent(browser, app, `scope=${scopes[19]}`)).toMatchObject({ source: 'provider' });
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive(browser, app);
  });

  test('A26: three hundred tokens take no more room than the first ones', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, {
      auth: { maxTokens: 20, callerTimeoutMs: 60_000 },
      routes: (routes) => {
        routes.get('/many', (req, res, next) => {
          const asked = Array.from({ length: 100 }, (_, n) =>
            req.getTokenSilent(`s${Number(req.query.from) + n}`),
          );
          Promise.all(asked).then((answers) => res.json(answers.length), next);
        });
      },
    });
    const browser = await signedIn(app);
    answerQuickly(provider, 100);
    const ask = async (from: number) => {
      expect((await browser.request(`${app.url}/many?from=${from}`)).text).toBe('100');
    };
    await ask(0);
    const size = sizeOf(app);
    for (let from = 100; from < 300; from += 100) await ask(from);
    expect(provider.refreshCalls).toHaveLength(300);
    expect(sizeOf(app)).toBeLessThan(size * 1.1);
    provider.scriptAlways(undefined);
    await expectAlive(browser, app);
  }, 120_000);

  test('A26: the size of what is stored is reported', async () => {
    const sizes: unknown[] = [];
    const listen = (details: unknown) => void sizes.push(details);
    subscribe('express-oidc-tokens:commit.ok', listen);
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = await signedIn(app);
    travel(3601);
    await silent(browser, app);
    unsubscribe('express-oidc-tokens:commit.ok', listen);
    expect(sizes).toMatchObject([{ bytes: expect.any(Number) }, { bytes: sizeOf(app) }]);
  });

  test('A26: large ones stay within 512 KiB', async () => {
    const provider = await openProvider();
    const app = await openApp(provider);
    const browser = await signedIn(app);
    answerQuickly(provider, 40_000);
    for (let n = 0; n < 20; n += 1) await silent(browser, app, `scope=scope-${n}`);
    // Base64 makes four thirds of it; the rest is the refresh and the ID token.
    expect(sizeOf(app)).toBeLessThan((512 * 1024 * 4) / 3 + 4096);
    expect(sizeOf(app)).toBeGreaterThan(10 * 40_000);
    provider.scriptAlways(undefined);
    await expectAlive(browser, app);
    expect(sizeOf(app)).toBeLessThan(8000);
  });
});
