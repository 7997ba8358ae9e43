import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RedisCommands } from '../../src/storage/redis-commands.ts';
import { redisIndex } from '../../src/storage/session-index.ts';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import { describeRedis, HOUR, newRef, recordEvents, sha256 } from './engine-support.ts';

describeRedis('the index of sessions in Redis', () => {
  let redis: TestRedis;
  let client: RedisClient;

  beforeAll(async () => {
    redis = await startRedis();
    client = await redis.client();
  });
  afterAll(() => redis.close());

  const open = () =>
    redisIndex(new RedisCommands(client, { readMs: 2000, writeMs: 2000 }, recordEvents()), 'p:');
  const keyOf = (name: string) => `p:oidc.index.${sha256(name)}`;

  test('an entry ends with its time, and the record with its last one', async () => {
    const [index, name] = [open(), newRef()];
    await index.add(name, 'long', 'long', HOUR);
    await index.add(name, 'short', 'short', 1);
    while ((await index.list(name)).length > 1);
    expect(await index.list(name)).toEqual(['long']);
    expect(await client.pTTL(keyOf(name))).toBeGreaterThan(HOUR - 60_000);
    await index.add(name, 'longer', 'longer', 2 * HOUR);
    expect(await client.pTTL(keyOf(name))).toBeGreaterThan(HOUR);
  });

  test('at most a thousand: what has ended goes first, then what ends first', async () => {
    const [index, name] = [open(), newRef()];
    await index.add(name, 'ended', 'ended', 1);
    while ((await index.list(name)).length > 0);
    const ids = Array.from({ length: 1000 }, (_, n) => `id ${n}`);
    await Promise.all(ids.map((id, n) => index.add(name, id, id, HOUR + n * 1000)));
    expect(await index.list(name)).toHaveLength(1000);
    await index.add(name, 'one more', 'one more', HOUR * 2);
    const left = await index.list(name);
    expect(left).toHaveLength(1000);
    expect([left.includes('id 0'), left.includes('id 1'), left.includes('one more')]).toEqual([
      false,
      true,
      true,
    ]);
    expect(await client.hLen(keyOf(name))).toBe(1000);
  });
});
