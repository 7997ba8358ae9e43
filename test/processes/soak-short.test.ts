import { expect, test } from '@jest/globals';
import { soak } from '../soak/soak.ts';
import { redisAvailable } from '../support/redis.ts';

const redisTest = redisAvailable() ? test : test.skip;

redisTest(
  'C49: many users and processes, some of them killed, for a few seconds; npm run soak goes on',
  async () => {
    // Another one each time: `npm run soak -- --seed=` has it again.
    const seed = Math.floor(Math.random() * 1_000_000);
    const { faults, counts, refreshes, kills, rotations } = await soak({
      seed,
      users: 8,
      processes: 3,
      operations: Number.POSITIVE_INFINITY,
      seconds: 8,
      killEveryMs: 2000,
      rotateEveryMs: 3000,
      graceMs: 0,
    });
    expect({ seed, faults }).toEqual({ seed, faults: [] });
    // It was not spared.
    for (const operation of ['login', 'tokens']) expect(counts[operation]).toBeGreaterThan(10);
    expect(refreshes).toBeGreaterThan(10);
    expect(kills).toBeGreaterThan(1);
    expect(rotations).toBeGreaterThan(0);
  },
  90_000,
);
