import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import type { RedisClientOptions } from 'redis';
import { redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';
import { closeAll, openApp, openBrowser, openProvider } from './session-support.ts';

const redisTest = redisAvailable() ? test : test.skip;

const reconnectStrategy = () => 50;
const advised: RedisClientOptions = { pingInterval: 100, socket: { socketTimeout: 250, reconnectStrategy } };

let redis: TestRedis;

beforeAll(async () => {
  if (redisAvailable()) redis = await startRedis();
});
afterEach(closeAll);
afterAll(() => redis?.close());

async function appOver(options: RedisClientOptions) {
  const client = await redis.client(options);
  const app = await openApp(await openProvider(), { store: new RedisStore({ client }) });
  const browser = openBrowser();
  await browser.request(app.url);
  return {
    app,
    browser,
    warnings: app.logs.filter(({ level }) => level === 'warn').map(({ message }) => message),
  };
}

redisTest.each<[string, RedisClientOptions, RegExp]>([
  ['without a timeout', {}, /has no socketTimeout/],
  ['that does not come back', { pingInterval: 100, socket: { socketTimeout: 250 } }, /ends for good/],
  ['that ends when idle', { socket: { socketTimeout: 250, reconnectStrategy } }, /connects anew/],
  ['that pings too late', { ...advised, pingInterval: 250 }, /connects anew/],
])('a Redis client %s is warned about, with the way out', async (_title, options, problem) => {
  const { warnings } = await appOver(options);
  const about = warnings.filter((warning) => warning.includes('Redis client'));
  expect(about).toEqual([expect.stringMatching(problem)]);
  expect(about[0]).toMatch(/pingInterval: \d+.*socketTimeout: \d+, reconnectStrategy:/);
});

redisTest('a Redis client as advised: no warning, and it is there after an idle time', async () => {
  const { app, browser, warnings } = await appOver(advised);
  expect(warnings.filter((warning) => warning.includes('Redis'))).toEqual([]);
  await browser.login(app);
  await delay(600);
  expect((await browser.request(app.url)).text).toBe('signed in as alice');
});

redisTest(
  'what the warning is about: with socketTimeout alone nobody is served after an idle time',
  async () => {
    const { app, browser } = await appOver({ socket: { socketTimeout: 250 } });
    await browser.login(app);
    await delay(600);
    expect((await browser.request(app.url)).status).toBe(503);
  },
);
