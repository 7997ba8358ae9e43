import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import {
  type AuthOptions,
  auth,
  ConfigurationError,
  ProviderUnavailableError,
  redisTokenStore,
  ScopeNotGrantedError,
} from 'express-oidc-tokens';
import { startApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { R1, R2 } from '../support/provider.ts';
import { redisAvailable, startRedis } from '../support/redis.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { ApiStage } from './api-stage.ts';

const stage = new ApiStage();
const LIFETIME = 3600;
const READ = { resource: R1, scopes: 'read' };
let lines: string[] = [];

beforeEach(() => {
  lines = [];
});

afterEach(() => expectNoSecrets(lines.join('\n'), stage.provider));

/** `auth()` in a process that never sees a request. */
function job(options: Partial<AuthOptions> = {}) {
  const { issuer, client } = stage.provider;
  const log = (message: string, details?: object) => void lines.push(`${message} ${JSON.stringify(details)}`);
  const logger = { debug: log, info: log, warn: log, error: log };
  return stage.opened(auth({ issuer, ...client, session: false, logger, ...options }));
}

const calls = () => stage.provider.tokenCalls;

test('A29: an app token is asked for once, by client credentials, and then comes from the cache', async () => {
  const handle = job();
  const first = await handle.getAppToken(READ);
  expect(first).toMatchObject({ source: 'provider', reason: 'no_cached_token', scopes: ['read'] });
  expect(first).not.toHaveProperty('account');
  expect(calls()).toHaveLength(1);
  expect(calls()[0]?.params).toMatchObject({ grant_type: 'client_credentials', resource: R1, scope: 'read' });
  const { reason: _, ...same } = first;
  expect(await handle.getAppToken({ resource: R1, scopes: ['read'] })).toEqual({ ...same, source: 'cache' });
  expect(calls()).toHaveLength(1);
});

test('A29: 50 parallel cold starts make one call', async () => {
  const handle = job();
  const results = await Promise.all(Array.from({ length: 50 }, () => handle.getAppToken(READ)));
  expect(new Set(results.map(({ accessToken }) => accessToken)).size).toBe(1);
  expect(calls()).toHaveLength(1);
});

test('A29: other scopes and another resource have tokens of their own', async () => {
  const handle = job();
  const requests = [
    READ,
    { ...READ, scopes: 'write' },
    { ...READ, resource: R2 },
    { ...READ, audience: 'x' },
  ];
  const tokens = async () =>
    Promise.all(requests.map(async (request) => (await handle.getAppToken(request)).accessToken));
  const first = await tokens();
  expect(new Set(first).size).toBe(4);
  expect(await tokens()).toEqual(first);
  expect(calls()).toHaveLength(4);
});

test('A29: without scopes it asks for none, not for those of the login', async () => {
  const handle = job({ scopes: 'openid a b' });
  await handle.getAppToken();
  await handle.getAppToken({ forceRefresh: true });
  expect(calls().map(({ params }) => params.scope)).toEqual([undefined, undefined]);
});

test('A29: a clock that was set back does not make an old token good', async () => {
  const handle = job();
  await handle.getAppToken(READ);
  travel(-600);
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'provider', reason: 'expired' });
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'cache' });
  expect(calls()).toHaveLength(2);
});

test("A29: a user's cache is neither read nor written", async () => {
  const store = countingStore();
  const scopes = 'openid offline_access read';
  const app = stage.opened(await startApp({ provider: stage.provider, store, auth: { scopes } }));
  const browser = stage.opened(new Browser({ account: 'alice' }));
  await browser.login(app);
  stage.provider.clearCalls();
  store.calls.length = 0;
  const { accessToken } = await app.handle.getAppToken('read');
  expect(store.calls).toEqual([]);
  expect(calls().map(({ params }) => params.grant_type)).toEqual(['client_credentials']);
  const user = (await browser.fetchJson(`${app.url}/silent?scope=read`)).json as { accessToken: string };
  expect(user.accessToken).not.toBe(accessToken);
  expect(user).toMatchObject({ account: { subject: 'alice' } });
  expect((await app.handle.getAppToken('read')).accessToken).toBe(accessToken);
});

test('A29: near its end it is served and renewed in the background, once', async () => {
  const handle = job();
  const { accessToken } = await handle.getAppToken(READ);
  travel(LIFETIME - 150);
  const answers = await Promise.all(Array.from({ length: 20 }, () => handle.getAppToken(READ)));
  expect(new Set(answers.map((answer) => answer.accessToken))).toEqual(new Set([accessToken]));
  await stage.provider.whenTokenCalls(2);
  await handle.close();
  const renewed = await handle.getAppToken(READ);
  expect(renewed).toMatchObject({ source: 'cache' });
  expect(renewed.accessToken).not.toBe(accessToken);
  expect(calls()).toHaveLength(2);
});

test('a background renewal that fails is no unhandled rejection, and waits before the next', async () => {
  const handle = job();
  const { accessToken } = await handle.getAppToken(READ);
  travel(LIFETIME - 150);
  stage.provider.scriptAlways({ status: 400, json: { error: 'invalid_client' } });
  await handle.getAppToken(READ);
  await stage.provider.whenTokenCalls(2);
  while (!lines.some((line) => line.includes('could not be refreshed in the background')))
    await setImmediate();
  expect(await handle.getAppToken(READ)).toMatchObject({ accessToken, source: 'cache' });
  expect(calls()).toHaveLength(2);
  stage.provider.scriptAlways(undefined);
  travel(11);
  await handle.getAppToken(READ);
  await stage.provider.whenTokenCalls(3);
});

test.each<[string, object, new (...args: never[]) => Error]>([
  ['the provider down', { status: 500 }, ProviderUnavailableError],
  ['the client refused', { status: 401, json: { error: 'invalid_client' } }, ConfigurationError],
])('close to its end and with %s it is served as stale, past its end it is not', async (_, fault, error) => {
  const handle = job();
  const { accessToken } = await handle.getAppToken(READ);
  stage.provider.scriptAlways(fault);
  travel(LIFETIME - 30);
  expect(await handle.getAppToken(READ)).toMatchObject({ accessToken, source: 'cache', stale: true });
  travel(31);
  await expect(handle.getAppToken(READ)).rejects.toThrow(error);
  stage.provider.scriptAlways(undefined);
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'provider' });
});

test('a token that ends while the provider is asked for another is not served as stale', async () => {
  const handle = job({ callerTimeoutMs: 200 });
  await handle.getAppToken(READ);
  travel(LIFETIME - 30);
  let answer = (): void => {};
  stage.provider.script({ waitAfter: new Promise<void>((resolve) => (answer = resolve)) });
  const asked = handle.getAppToken(READ).catch((error: unknown) => error);
  await stage.provider.whenTokenCalls(2);
  travel(31);
  const outcome = await asked;
  answer();
  expect(outcome).toBeInstanceOf(ProviderUnavailableError);
});

test.each<[string, object, new (...args: never[]) => Error]>([
  ['invalid_scope', { status: 400, json: { error: 'invalid_scope' } }, ScopeNotGrantedError],
  ['invalid_client', { status: 401, json: { error: 'invalid_client' } }, ConfigurationError],
  ['unauthorized_client', { status: 400, json: { error: 'unauthorized_client' } }, ConfigurationError],
  ['access denied to the app', { status: 400, json: { error: 'invalid_grant' } }, ConfigurationError],
  ['an answer lost twice', { status: 502 }, ProviderUnavailableError],
  ['no token in the answer', { json: { token_type: 'Bearer' } }, ProviderUnavailableError],
])('A29: a failure is not cached: %s', async (_name, fault, error) => {
  const handle = job();
  stage.provider.scriptAlways(fault);
  const failed = await Promise.allSettled([handle.getAppToken(READ), handle.getAppToken(READ)]);
  for (const result of failed)
    expect(result).toMatchObject({ status: 'rejected', reason: expect.any(error) });
  lines.push(String(failed.map((result) => (result as PromiseRejectedResult).reason.stack)));
  stage.provider.scriptAlways(undefined);
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'provider' });
});

test('a Retry-After is kept, and the token that is known goes on being served', async () => {
  const handle = job();
  await handle.getAppToken(READ);
  stage.provider.script({ status: 429, headers: { 'retry-after': '20' } });
  const other = { ...READ, scopes: 'write' };
  await expect(handle.getAppToken(other)).rejects.toMatchObject({ status: 503, retryAfter: 20 });
  await expect(handle.getAppToken(other)).rejects.toThrow(ProviderUnavailableError);
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'cache' });
  expect(calls()).toHaveLength(2);
  travel(21);
  expect(await handle.getAppToken(other)).toMatchObject({ source: 'provider' });
});

test('twenty times 503 without a time, and the provider is left alone for a second', async () => {
  const handle = job();
  stage.provider.scriptAlways({ status: 503 });
  for (let time = 0; time < 22; time += 1)
    await expect(handle.getAppToken(READ)).rejects.toThrow(ProviderUnavailableError);
  expect(calls()).toHaveLength(20);
  stage.provider.scriptAlways(undefined);
  travel(1.1);
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'provider' });
});

test('forceRefresh and claims ask again; a rejected token is replaced once', async () => {
  const handle = job();
  const { accessToken } = await handle.getAppToken(READ);
  const rejecting = { ...READ, rejected: accessToken };
  const results = await Promise.all(Array.from({ length: 50 }, () => handle.getAppToken(rejecting)));
  expect(calls()).toHaveLength(2);
  expect(results[0]).toMatchObject({ source: 'provider', reason: 'forced' });
  const newer = String(results[0]?.accessToken);
  expect(newer).not.toBe(accessToken);
  expect(await handle.getAppToken(rejecting)).toMatchObject({ accessToken: newer, source: 'cache' });
  expect(await handle.getAppToken({ ...READ, forceRefresh: true })).toMatchObject({ reason: 'forced' });
  expect(await handle.getAppToken({ ...READ, claims: { a: null } })).toMatchObject({ reason: 'claims' });
  expect(calls()).toHaveLength(4);
});

test.each([[{ scope: 'read' }], [7], [null], [{ resource: 'r1' }], [{ scopes: 7 }], ['a"b']])(
  'getAppToken(%j) is a TypeError',
  async (request) => {
    await expect(job().getAppToken(request as never)).rejects.toThrow(TypeError);
    expect(calls()).toHaveLength(0);
  },
);

const testRedis = redisAvailable() ? test : test.skip;

testRedis('A29: two processes share a token in Redis, the renewed one too, and not in clear', async () => {
  const redis = stage.opened(await startRedis());
  const client = await redis.client();
  const encryptionKeys = [{ kid: 'k', key: Buffer.alloc(32, 7) }];
  const tokenStore = redisTokenStore({ client });
  const [one, two] = [job({ tokenStore, encryptionKeys }), job({ tokenStore, encryptionKeys })];
  const { accessToken } = await one.getAppToken(READ);
  expect(await two.getAppToken(READ)).toMatchObject({ accessToken, source: 'cache' });
  const stranger = job({ tokenStore, encryptionKeys: [{ kid: 'k', key: Buffer.alloc(32, 8) }] });
  expect(await stranger.getAppToken({ ...READ, resource: R2 })).toMatchObject({ source: 'provider' });
  travel(LIFETIME + 1);
  const renewed = await one.getAppToken(READ);
  expect(renewed.source).toBe('provider');
  expect(await two.getAppToken(READ)).toMatchObject({ accessToken: renewed.accessToken, source: 'cache' });
  expect(calls()).toHaveLength(3);
  for (const key of await client.keys('*')) expectNoSecrets(String(await client.get(key)), stage.provider);
});

testRedis('A29: a web app shares them where its sessions are', async () => {
  const redis = stage.opened(await startRedis());
  const encryptionKeys = [{ kid: 'k', key: Buffer.alloc(32, 7) }];
  const start = async () => {
    const store = new RedisStore({ client: await redis.client() });
    const app = await startApp({ provider: stage.provider, store, auth: { encryptionKeys } });
    await fetch(app.url);
    return stage.opened(app);
  };
  const [one, two] = [await start(), await start()];
  const { accessToken } = await one.handle.getAppToken(READ);
  expect(await two.handle.getAppToken(READ)).toMatchObject({ accessToken, source: 'cache' });
});

testRedis('with Redis gone each process has its own', async () => {
  const redis = stage.opened(await startRedis());
  const handle = job({
    tokenStore: redisTokenStore({ client: await redis.client() }),
    storeReadTimeoutMs: 50,
    storeWriteTimeoutMs: 50,
  });
  redis.pause();
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'provider' });
  expect(await handle.getAppToken(READ)).toMatchObject({ source: 'cache' });
});
