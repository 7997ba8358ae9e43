import { afterEach, describe, expect, test } from '@jest/globals';
import {
  closeAll,
  expectAlive,
  openApp,
  openProvider,
  signedIn,
  silent,
  whoIs,
} from '../journeys/session-support.ts';
import { allFactories, type OpenedStore } from '../support/store-factories.ts';
import { travel } from '../support/time.ts';

// Shorter than the hour that session-file-store keeps a session without an expiry of its own.
const LIFETIME = 600;

describe.each(allFactories)('over $name', ({ open }) => {
  let opened: OpenedStore | undefined;

  afterEach(async () => {
    await closeAll();
    await opened?.close();
  });

  test.each([
    ['as the quickstart has it', {}],
    [
      'with a session that rolls on',
      { rolling: true, resave: true, cookie: { maxAge: 14 * 24 * 3_600_000 } },
    ],
  ])('login, token, expiry, refresh, step-up, logout: %s', async (_title, session) => {
    opened = await open();
    const provider = await openProvider({ accessTokenTtl: LIFETIME });
    const { store, tokenStore } = opened;
    const auth = tokenStore === undefined ? {} : { tokenStore };
    const app = await openApp(provider, { store, session, auth });
    const browser = await signedIn(app, { account: 'alice' });
    const first = await silent(browser, app);
    expect(first).toMatchObject({ source: 'cache', account: { subject: 'alice' } });
    for (let round = 0; round < 3; round += 1) await expectAlive(browser, app, LIFETIME);
    expect(provider.refreshCalls).toHaveLength(3);
    expect(await silent(browser, app)).toMatchObject({ source: 'cache' });

    await browser.login(app, '/user');
    await expectAlive(browser, app, LIFETIME);

    travel(LIFETIME + 1);
    provider.clearCalls();
    const answers = await Promise.all(Array.from({ length: 10 }, () => silent(browser, app)));
    expect(provider.tokenCalls).toHaveLength(1);
    const accessToken = provider.tokenCalls[0]?.answer?.access_token;
    expect(answers.map((answer) => answer.accessToken)).toEqual(Array(10).fill(accessToken));

    const page = await browser.navigate(`${app.url}/logout`);
    expect(page.url).toBe(`${app.url}/`);
    expect(page.text).toBe('anonymous');
    expect(await silent(browser, app)).toMatchObject({ reason: 'signed_out' });
    // Nothing is left to destroy.
    expect(await browser.navigate(`${app.url}/logout`)).toMatchObject({ status: 200, text: 'anonymous' });
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    await expectAlive(browser, app, LIFETIME);
  });
});
