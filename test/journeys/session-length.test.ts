import { afterEach, describe, expect, test } from '@jest/globals';
import { allFactories } from '../support/store-factories.ts';
import {
  closeAll,
  closing,
  expectAlive,
  openApp,
  openBrowser,
  openProvider,
  records,
  sessionId,
  signedIn,
} from './session-support.ts';

afterEach(closeAll);

const MONTH_MS = 30 * 24 * 3600 * 1000;

test('B33: a session that the app made longer stays so when the same user signs in again', async () => {
  const provider = await openProvider({ nextLogin: 'alice' });
  const app = await openApp(provider, {
    routes: (routes) => {
      routes.get('/remember-me', (req, res) => {
        req.session.cookie.maxAge = MONTH_MS;
        res.send('remembered');
      });
    },
  });
  const browser = openBrowser();
  await browser.login(app);
  await browser.fetchJson(`${app.url}/remember-me`);
  const before = sessionId(browser, app);
  await browser.login(app);
  const after = sessionId(browser, app);
  expect(after).not.toBe(before);
  const record = records(app.store).get(after ?? '') as { cookie: { originalMaxAge: number } };
  expect(record.cookie.originalMaxAge).toBeGreaterThan(MONTH_MS - 60_000);
});

describe.each(allFactories)('a session over $name', ({ open }) => {
  test('a length whose double is no date any more: signed in, and alive', async () => {
    const maxAge = 5e15;
    const { store, tokenStore } = closing(await open());
    const provider = await openProvider({ accessTokenTtl: 600 });
    const app = await openApp(provider, {
      store,
      session: { cookie: { maxAge } },
      auth: { encryptionKeys: [{ kid: 'k', key: Buffer.alloc(32, 7) }], ...(tokenStore && { tokenStore }) },
    });
    const browser = await signedIn(app);
    await expectAlive(browser, app, 600);
  });
});
