import { expect, test } from '@jest/globals';
import { MemoryStore } from 'express-session';
import { bindStore } from '../../src/storage/store-binding.ts';
import { recordEvents } from './engine-support.ts';

class SharedStore extends MemoryStore {}

test('two clients of one store share its records, and wait for their own provider alone', async () => {
  const store = new SharedStore();
  const deadlines = { readMs: 1000, writeMs: 1000 };
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const bind = (client: string) =>
    bindStore(store, {
      client,
      redis: undefined,
      storeDeadlines: deadlines,
      redisDeadlines: deadlines,
      logger,
      events: recordEvents(),
      handleField: 'oidc',
    });
  const [one, again, other] = [bind('https://one web'), bind('https://one web'), bind('https://other web')];
  expect([again.tokens, other.tokens]).toEqual([one.tokens, one.tokens]);
  expect(other.guard).toBe(one.guard);
  const notBefore = Date.now() / 1000 + 60;
  await one.patience?.write(notBefore, 60_000);
  expect(await again.patience?.read()).toBe(notBefore);
  expect(await other.patience?.read()).toBe(0);
});
