import { setTimeout as delay } from 'node:timers/promises';
import { expect } from '@jest/globals';
import { expectOneToken, redisScene, redisTest } from './setup.ts';

const PARALLEL = 50;

redisTest('C40: 4 processes, 50 parallel requests each, a token that really ran out: 1 grant', async () => {
  const scene = await redisScene({ provider: { accessTokenTtl: 1 } });
  const { provider } = scene;
  const browser = await scene.signedIn();
  await delay(1000);
  provider.accessTokenTtl = 600;
  provider.clearCalls();
  const answers = await scene.burst(browser, PARALLEL);
  expect(answers).toHaveLength(4 * PARALLEL);
  expect(expectOneToken(answers)).toBe(provider.tokenCalls[0]?.answer?.access_token);
  expect(provider.tokenCalls).toHaveLength(1);
  await scene.expectAlive(browser);
  await scene.expectSound();
});

redisTest(
  'C40: ten expiries in a row, half of the handlers write the session: 1 grant each, no failure',
  async () => {
    const scene = await redisScene();
    const { provider } = scene;
    const browser = await scene.signedIn();
    for (let expiry = 1; expiry <= 10; expiry += 1) {
      await scene.expire();
      provider.clearCalls();
      const query = (n: number) => (n % 2 === 0 ? `note=${expiry}-${n}` : '');
      const token = expectOneToken(await scene.burst(browser, PARALLEL, { query }));
      expect(provider.tokenCalls.map(({ answer }) => answer?.access_token)).toEqual([token]);
    }
    expect(await scene.version(browser)).toBe(11);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);
