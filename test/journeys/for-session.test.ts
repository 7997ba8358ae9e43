import { afterEach, describe, expect, test } from '@jest/globals';
import { InteractionRequiredError } from 'express-oidc-tokens';
import { MemoryStore } from 'express-session';
import { expectNoSecrets, surfaceRejections } from '../support/leaks.ts';
import { travel } from '../support/time.ts';
import { lastingKeys } from './get-token-stage.ts';
import { closeAll, openApp, openProvider, sessionId, signedIn, silent } from './session-support.ts';

afterEach(closeAll);

async function open(lifetime = 3600) {
  const provider = await openProvider({ accessTokenTtl: lifetime });
  const store = new MemoryStore();
  const auth = lastingKeys();
  const app = await openApp(provider, { store, auth });
  const browser = await signedIn(app, { account: 'alice' });
  const id = String(sessionId(browser, app));
  provider.clearCalls();
  return { provider, store, auth, app, browser, id };
}

describe('forSession', () => {
  test('gives what the session’s own requests get, without a request', async () => {
    const { app, browser, id, provider } = await open();
    const result = await app.handle.forSession(id).getTokenSilent();
    expect(result).toEqual(await silent(browser, app));
    expect(result).toMatchObject({ source: 'cache', account: { subject: 'alice' } });
    expect(provider.tokenCalls).toEqual([]);
  });

  test('expiry: one refresh, shared with the requests of the session', async () => {
    const { app, browser, id, provider } = await open();
    travel(3601);
    const tokens = app.handle.forSession(id);
    const all = await Promise.all([
      ...Array.from({ length: 10 }, () => tokens.getTokenSilent()),
      ...Array.from({ length: 10 }, () => silent(browser, app)),
      app.handle.forSession(id).getTokenSilent(),
    ]);
    expect(provider.refreshCalls).toHaveLength(1);
    expect(new Set(all.map(({ accessToken }) => accessToken)).size).toBe(1);
    travel(3601);
    expect(await tokens.getTokenSilent()).toMatchObject({ source: 'provider' });
  });

  test('after the logout: InteractionRequiredError, also for one made before, and no token in it', async () => {
    const { app, browser, id, provider } = await open();
    const tokens = app.handle.forSession(id);
    await tokens.getTokenSilent();
    await browser.navigate(`${app.url}/logout`);
    for (const ended of [tokens, app.handle.forSession(id)]) {
      const error = await ended.getTokenSilent().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(InteractionRequiredError);
      expect(error).toMatchObject({ reason: 'signed_out', status: 401 });
      expectNoSecrets(error, provider);
    }
    expectNoSecrets(app.logText(), provider);
  });

  test('a refresh under way while the user logs out gives nothing to the session afterwards', async () => {
    const { app, browser, id, provider } = await open();
    travel(3601);
    let release = () => {};
    provider.script({
      waitAfter: new Promise<void>((resolve) => {
        release = resolve;
      }),
    });
    const tokens = app.handle.forSession(id);
    const pending = tokens.getTokenSilent().catch((thrown: unknown) => thrown);
    await provider.whenTokenCalls(1);
    await browser.navigate(`${app.url}/logout`);
    release();
    await pending;
    await expect(tokens.getTokenSilent()).rejects.toMatchObject({ reason: 'signed_out' });
    await surfaceRejections();
  });

  test.each(['unknown', 'oidc.tc.unknown'])(
    'a session that is not there (%s): InteractionRequiredError',
    async (id) => {
      const { app } = await open();
      await expect(app.handle.forSession(id).getTokenSilent('a')).rejects.toMatchObject({
        name: 'InteractionRequiredError',
        scopes: ['a'],
      });
    },
  );

  test('a wrong id or request is a TypeError', async () => {
    const { app, id } = await open();
    for (const wrong of ['', undefined, 1, {}])
      expect(() => app.handle.forSession(wrong as never)).toThrow(TypeError);
    await expect(app.handle.forSession(id).getTokenSilent({ scope: 'a' } as never)).rejects.toThrow(
      TypeError,
    );
  });

  test('before the first request: with the store given it works, without it says what is missing', async () => {
    const { provider, store, auth, id } = await open();
    const job = await openApp(provider, { store, auth });
    await expect(job.handle.forSession(id).getTokenSilent()).rejects.toMatchObject({
      name: 'ConfigurationError',
      message: expect.stringContaining('forSession(id, store)'),
    });
    expect(await job.handle.forSession(id, store).getTokenSilent()).toMatchObject({ source: 'cache' });
    expect(await job.handle.forSession(id).getTokenSilent()).toMatchObject({ source: 'cache' });
  });

  test('a store that fails is its own error, and the user is not signed out', async () => {
    const { app, store, id } = await open();
    const { get } = store;
    store.get = (_id, done) => done(new Error('down'));
    await expect(app.handle.forSession(id).getTokenSilent()).rejects.toMatchObject({
      name: 'StoreUnavailableError',
    });
    store.get = get;
    expect(await app.handle.forSession(id).getTokenSilent()).toMatchObject({ account: { subject: 'alice' } });
  });
});
