import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import { redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';
import { closeAll, openApp, openProvider, signedIn, silent, until } from './session-support.ts';

const redisTest = redisAvailable() ? test : test.skip;

let redis: TestRedis;

afterEach(async () => {
  await closeAll();
  await redis?.close();
});

redisTest('C44: while Redis hangs and requests keep coming, each of them is answered in time', async () => {
  redis = await startRedis();
  const client = await redis.client({
    pingInterval: 200,
    commandOptions: { timeout: 500 },
    socket: { socketTimeout: 500, reconnectStrategy: () => 50 },
  });
  const app = await openApp(await openProvider(), { store: new RedisStore({ client }) });
  const browser = await signedIn(app);
  await silent(browser, app);

  redis.pause();
  const times: number[] = [];
  const ask = async () => {
    const startedAt = performance.now();
    expect((await browser.request(`${app.url}/silent`)).status).toBeGreaterThanOrEqual(500);
    times.push(performance.now() - startedAt);
  };
  // node-redis counts what it writes as activity: a socket that is written to every 100 ms never times out.
  const asked: Promise<void>[] = [];
  for (let request = 0; request < 30; request += 1) {
    asked.push(ask());
    await delay(100);
  }
  await Promise.all(asked);
  expect(Math.max(...times)).toBeLessThan(2000);

  redis.resume();
  await until(async () => (await browser.request(`${app.url}/silent`)).status === 200);
});
