import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import { Store } from 'express-session';
import { redisAvailable, startRedis } from '../support/redis.ts';
import { bind, newRef } from './open-binding.ts';

const withRedis = redisAvailable() ? describe : describe.skip;

const DEADLINE_MS = 100;
const DEADLINES = { readMs: DEADLINE_MS, writeMs: DEADLINE_MS };

/** Nothing else runs meanwhile: no timer, no socket. */
function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** A store that does not show what is behind it. */
function plain(store: Store): Store {
  const calls = {
    get: store.get.bind(store),
    set: store.set.bind(store),
    destroy: store.destroy.bind(store),
  };
  return Object.assign(Object.create(Store.prototype) as Store, calls);
}

withRedis('a process that is busy for longer than the deadline of its store', () => {
  test.each([
    ['its own engine', (store: Store) => store],
    ['any session store', plain],
  ])('takes the answer that arrived meanwhile: Redis as %s', async (_name, shown) => {
    const redis = await startRedis();
    try {
      const store = shown(new RedisStore({ client: await redis.client() }));
      const { tokens } = bind({ store }, DEADLINES);
      const ref = newRef();
      await tokens.commit(ref, { expected: 0, payload: 'payload', ttlMs: 60_000 });
      await tokens.load(ref); // from here on Redis knows the script
      redis.pause();
      const loading = tokens.load(ref);
      await delay(DEADLINE_MS / 5);
      await new Promise(setImmediate); // the question has left, and the event loop comes to its timers next
      redis.resume();
      block(3 * DEADLINE_MS);
      expect(await loading).toMatchObject({ state: 'present', payload: 'payload' });

      redis.pause();
      await expect(tokens.load(ref)).rejects.toMatchObject({ code: 'ERR_OIDC_STORE_UNAVAILABLE' });
    } finally {
      await redis.close();
    }
  });
});
