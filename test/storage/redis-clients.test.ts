import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Cluster, Redis } from 'ioredis';
import { createClientPool, createCluster, createSentinel, type RedisClientOptions } from 'redis';
import { isRedisClient, type RedisClient as TokenStoreClient } from '../../src/storage/redis-commands.ts';
import * as scripts from '../../src/storage/redis-scripts.ts';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import { startRedisCluster } from '../support/redis-cluster.ts';
import { freePort } from '../support/server.ts';
import { describeRedis, HOUR, newRef, redisEngine, sha256 } from './engine-support.ts';

/** What the package does with a client, once through; `flush` makes the server forget its scripts. */
async function expectServes(client: unknown, flush: () => Promise<unknown>): Promise<void> {
  expect(isRedisClient(client)).toBe(true);
  const { tokens, transactions } = redisEngine(client as TokenStoreClient);
  const ref = newRef();
  const commit = (expected: number, payload: string) =>
    tokens.commit(ref, { expected, payload, ttlMs: HOUR });
  expect(await tokens.load(ref)).toEqual({ state: 'absent' });
  expect([await commit(0, 'first'), await commit(0, 'other')]).toEqual(['committed', 'newer']);
  await flush();
  const lease = await tokens.acquire(ref, 1);
  expect(lease).toMatchObject({ isHeld: true, record: { version: 1, payload: 'first' } });
  expect(await commit(1, 'second')).toBe('committed');
  await lease.release();
  const newer = await tokens.acquire(ref, 1);
  expect(newer).toMatchObject({ isHeld: false, record: { version: 2, payload: 'second' } });
  await newer.release();
  await tokens.renew(ref, 2, 2 * HOUR);
  const record = await tokens.load(ref);
  expect(record.state === 'present' && record.remainingMs > HOUR).toBe(true);
  expect(await tokens.remove(ref)).toMatchObject({ state: 'present', version: 2 });
  expect(await tokens.load(ref)).toEqual({ state: 'tombstone' });
  const hash = sha256(ref);
  expect(await transactions.peek(hash)).toBeUndefined();
  await transactions.put(hash, 'payload', HOUR);
  expect(await transactions.take(hash)).toBe('payload');
  expect(await transactions.take(hash)).toBeUndefined();
  expect(await transactions.peek(hash)).toEqual({ payload: 'payload', isTaken: true });
  await transactions.remove(hash);
  expect(await transactions.peek(hash)).toBeUndefined();
}

/** A sentinel that watches a server. */
async function startSentinel(redis: TestRedis): Promise<{ port: number; stop(): Promise<void> }> {
  const path = join(redis.folder, 'sentinel.conf');
  const port = await freePort();
  await writeFile(path, `port ${port}\nsentinel monitor tokens 127.0.0.1 ${redis.port} 1\n`);
  const child = spawn('redis-server', [path, '--sentinel'], { stdio: ['ignore', 'pipe', 'ignore'] });
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false }))
    if (String(chunk).includes('+monitor')) break;
  child.stdout.resume();
  const stop = async () => {
    const exited = once(child, 'exit');
    child.kill();
    await exited;
  };
  return { port, stop };
}

test.each(Object.entries(scripts))('%s is about one key: all that a cluster allows', (_name, { text }) => {
  const keys = [...text.matchAll(/redis\.call\('(?!TIME')\w+', ([^,)]+)/g)].map(([, key]) => key);
  expect(new Set(keys)).toEqual(new Set(['KEYS[1]']));
});

describeRedis('clients of Redis', () => {
  let redis: TestRedis;
  let client: RedisClient;
  let flush: () => Promise<unknown>;

  beforeAll(async () => {
    redis = await startRedis();
    client = await redis.client();
    flush = () => client.sendCommand(['SCRIPT', 'FLUSH']);
  });
  afterEach(async () => {
    for (const close of opened.splice(0).reverse()) await close();
  });
  afterAll(() => redis.close());

  const opened: (() => unknown)[] = [];
  /** Closes it after the test, the last first. */
  const closing = (close: () => unknown) => void opened.push(close);

  test('redis, with either version of the protocol', async () => {
    for (const RESP of [2, 3] as const)
      await expectServes(await redis.client({ RESP } as RedisClientOptions), flush);
  });

  test('redis, a pool of connections', async () => {
    const pool = createClientPool({ url: redis.url }, { minimum: 3 });
    closing(() => pool.destroy());
    await pool.connect();
    await expectServes(pool, flush);
  });

  /** As many records that they are not all at one of two nodes. */
  const times = Array.from({ length: 8 });

  test('redis and ioredis, a cluster: what is sent is about one key, wherever it is', async () => {
    const { nodes, toAll, close } = await startRedisCluster();
    closing(close);
    const flushAll = () => toAll('SCRIPT', 'FLUSH');
    const cluster = createCluster({ rootNodes: nodes.map(({ url }) => ({ url })) });
    closing(() => cluster.destroy());
    await cluster.connect();
    const ioredis = [false, true].map((enableAutoPipelining) => {
      const client = new Cluster(
        nodes.map(({ url }) => url),
        { enableAutoPipelining },
      );
      closing(() => client.disconnect());
      return client;
    });
    for (const client of [cluster, ...ioredis]) for (const _ of times) await expectServes(client, flushAll);
    for (const node of nodes) expect(await (await node.client()).dbSize()).toBeGreaterThan(0);
  });

  test('redis, a server found through a sentinel', async () => {
    const { port, stop } = await startSentinel(redis);
    closing(stop);
    const sentinelRootNodes = [{ host: '127.0.0.1', port }];
    const sentinel = createSentinel({ name: 'tokens', sentinelRootNodes });
    sentinel.on('error', () => {});
    closing(() => sentinel.destroy());
    await sentinel.connect();
    await expectServes(sentinel, flush);
  });

  test.each([
    ['as it comes', {}],
    [
      'with a prefix of its own, pipelines and numbers as text',
      { keyPrefix: 'app:', enableAutoPipelining: true, stringNumbers: true },
    ],
  ])('ioredis, %s', async (_title, options) => {
    const ioredis = new Redis(redis.port, options);
    closing(() => ioredis.disconnect());
    await expectServes(ioredis, flush);
  });

  test('what is no client is told apart', () => {
    for (const other of [undefined, null, 'redis://127.0.0.1', {}, { get() {}, set() {} }, { send() {} }])
      expect(isRedisClient(other)).toBe(false);
  });
});
