import { afterEach, describe, expect, test } from '@jest/globals';
import type { ErrorRequestHandler } from 'express';
import { ConfigurationError, StoreUnavailableError } from 'express-oidc-tokens';
import { MemoryStore } from 'express-session';
import { type AppOptions, startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { countingStore } from '../support/stores.ts';

const registration = { issuer: 'https://op.example', clientId: 'web-app', clientSecret: 'secret' };
const KEYS = `k1:${Buffer.alloc(32, 'key').toString('base64')}`;
const production = { NODE_ENV: 'production', OIDC_ENCRYPTION_KEYS: KEYS };

const browser = new Browser();
let app: TestApp;
let errors: unknown[] = [];

afterEach(async () => {
  browser.close();
  errors = [];
  await app.close();
});

async function start(options: AppOptions): Promise<void> {
  app = await startApp({
    env: { OIDC_ENCRYPTION_KEYS: KEYS },
    ...options,
    auth: registration,
    routes: (site) => {
      const caught: ErrorRequestHandler = (error, _req, res, _next) => {
        errors.push(error);
        res.status(error.status).send('caught');
      };
      site.use(caught);
    },
  });
}

const visit = (headers: Record<string, string> = {}) => browser.request(app.url, { headers });

describe('no session to keep a sign-in in: every request fails, in words that fix it', () => {
  test('no express-session before auth()', async () => {
    await start({ session: false });
    expect((await visit()).status).toBe(500);
    expect((await visit()).status).toBe(500);
    for (const error of errors) expect(error).toBeInstanceOf(ConfigurationError);
    expect(String(errors[0])).toContain(
      'There is no req.session: mount express-session before auth(), as in app.use(session({ … })); app.use(auth()).',
    );
  });

  test('cookie-session', async () => {
    const cookieSession: AppOptions['before'] = (site) => {
      site.use((req, _res, next) => {
        Object.assign(req, { session: { isNew: true } });
        next();
      });
    };
    await start({ session: false, before: cookieSession });
    expect((await visit()).status).toBe(500);
    expect(errors[0]).toBeInstanceOf(ConfigurationError);
    expect(String(errors[0])).toMatch(/kept in a cookie.*use express-session with a store\./);
  });

  test('a store that is disconnected passes: 503, and then all is well', async () => {
    const store = new MemoryStore();
    await start({ store });
    expect((await visit()).text).toBe('anonymous');
    store.emit('disconnect');
    const answer = await visit();
    expect([answer.status, errors[0]]).toEqual([503, expect.any(StoreUnavailableError)]);
    expect(String(errors[0])).toContain('its store is disconnected');
    store.emit('connect');
    expect((await visit()).text).toBe('anonymous');
  });
});

describe('what works and will not work as people expect is said once, at the first request', () => {
  const warnings = () => app.logs.filter(({ level }) => level === 'warn').map(({ message }) => message);

  test.each<[string, AppOptions, Record<string, string>, RegExp]>([
    ['MemoryStore in production', { env: production }, {}, /MemoryStore.*Use a shared store in production\./],
    [
      'sameSite strict',
      { session: { cookie: { sameSite: 'strict' } } },
      {},
      /sameSite 'strict'.*Use 'lax'\./,
    ],
    ['sameSite true', { session: { cookie: { sameSite: true } } }, {}, /sameSite 'strict'.*Use 'lax'\./],
    [
      'a secure cookie on an insecure request',
      { session: { cookie: { secure: true } } },
      {},
      /insecure.*app\.set\('trust proxy', 1\)/,
    ],
    [
      'a secure cookie behind a proxy that is not trusted',
      { session: { cookie: { secure: true } } },
      { 'x-forwarded-proto': 'https' },
      /insecure.*app\.set\('trust proxy', 1\)/,
    ],
    [
      'a connect-redis that hides its client',
      { store: olderRedisStore() },
      {},
      /does not show its client.*tokenStore: redisTokenStore/,
    ],
    ['Express 4', { express: 4 }, {}, /Express 4 does not forward.*requiresAuth\(handler\)/],
  ])('%s', async (_name, options, headers, expected) => {
    await start(options);
    expect(warnings()).toEqual([]);
    const answers = await Promise.all([visit(headers), visit(headers), visit(headers)]);
    await visit(headers);
    expect(answers.map(({ text }) => text)).toEqual(Array(3).fill('anonymous'));
    expect(warnings()).toEqual([expect.stringMatching(expected)]);
  });

  test.each<[string, AppOptions, Record<string, string>]>([
    ['an ordinary app', {}, {}],
    ['MemoryStore in development', { env: { OIDC_ENCRYPTION_KEYS: KEYS, NODE_ENV: 'development' } }, {}],
    ['another store in production', { env: production, store: otherStore() }, {}],
    ['sameSite lax', { session: { cookie: { sameSite: 'lax' } } }, {}],
    ['sameSite none', { session: { cookie: { sameSite: 'none' } } }, {}],
    ['a cookie as secure as the request', { session: { cookie: { secure: 'auto' } } }, {}],
    [
      'a secure cookie behind a trusted proxy',
      { session: { cookie: { secure: true } }, before: (site) => void site.set('trust proxy', 1) },
      { 'x-forwarded-proto': 'https' },
    ],
  ])('nothing about %s', async (_name, options, headers) => {
    await start(options);
    expect((await visit(headers)).text).toBe('anonymous');
    expect(warnings()).toEqual([]);
  });

  test('several at once are all said', async () => {
    await start({ env: production, express: 4, session: { cookie: { sameSite: 'strict', secure: true } } });
    await visit();
    await visit();
    expect(warnings()).toHaveLength(4);
  });
});

/** As connect-redis 7 and 8 look from outside. */
function olderRedisStore() {
  class RedisStore extends MemoryStore {
    readonly prefix = 'sess:';
    readonly client = { get() {}, set() {}, expire() {}, del() {} };
  }
  return new RedisStore();
}

/** A store of another class. */
function otherStore() {
  class SharedStore extends MemoryStore {}
  return countingStore(new SharedStore());
}
