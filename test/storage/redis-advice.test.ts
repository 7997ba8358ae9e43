import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import { explainRedisFault, redisWarnings } from '../../src/storage/redis-advice.ts';
import { startApp } from '../support/app.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { describeRedis, HOUR, newRef, redisEngine } from './engine-support.ts';

describeRedis('what a Redis server says of itself', () => {
  let redis: TestRedis;

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis.close());

  test.each<[string, RegExp, string[][], string[][]]>([
    [
      'without scripts',
      /does not allow a command/,
      [['ACL', 'SETUSER', 'default', '-@scripting']],
      [['ACL', 'SETUSER', 'default', '+@scripting']],
    ],
    [
      'without memory',
      /out of memory/,
      [['CONFIG', 'SET', 'maxmemory', '1']],
      [['CONFIG', 'SET', 'maxmemory', '0']],
    ],
    ['read-only', /read-only replica/, [['REPLICAOF', '127.0.0.1', '1']], [['REPLICAOF', 'NO', 'ONE']]],
  ])('%s: the error says so', async (_name, message, before, after) => {
    const admin = await redis.client();
    const { tokens } = redisEngine(await redis.client());
    const commit = (ref: string) => tokens.commit(ref, { expected: 0, payload: 'first', ttlMs: HOUR });
    for (const words of before) await admin.sendCommand(words);
    await expect(commit(newRef())).rejects.toMatchObject({
      status: 503,
      message: expect.stringMatching(message),
    });
    for (const words of after) await admin.sendCommand(words);
    expect(await commit(newRef())).toBe('committed');
  });

  test('one that evicts is warned about, once; one that does not, or has no limit, is not', async () => {
    const admin = await redis.client();
    const warnings = async () => {
      const app = await startApp({
        store: new RedisStore({ client: await redis.client() }),
        auth: { issuer: 'https://op.example', clientId: 'web', clientSecret: 'secret' },
      });
      // The second request comes after what the first one asked has been answered.
      for (let request = 0; request < 3; request += 1) await fetch(app.url);
      await app.close();
      return app.logs.filter(({ message }) => message.includes('noeviction')).length;
    };
    expect(await warnings()).toBe(0);
    await admin.configSet('maxmemory-policy', 'allkeys-lru');
    expect(await warnings()).toBe(0);
    await admin.configSet('maxmemory', '100mb');
    expect(await warnings()).toBe(1);
    await admin.configSet('maxmemory-policy', 'noeviction');
    expect(await warnings()).toBe(0);
  });
});

test.each([
  ['NOAUTH Authentication required.', /user and password/],
  ['WRONGPASS invalid username-password pair or user is disabled.', /user and password/],
  ["NOPERM this user has no permissions to run the 'evalsha' command", /does not allow a command/],
  ["ERR unknown command 'EVALSHA', with args beginning with: ", /does not allow a command/],
  ['LOADING Redis is loading the dataset in memory', /loading/],
  ['MISCONF Redis is configured to save RDB snapshots', /disk/],
  ['CLUSTERDOWN The cluster is down', /part of it/],
  [
    'ERR Error running script (call to f_1): @user_script:5: -OOM command not allowed when used memory',
    /out of memory/,
  ],
  ['ERR Write commands not allowed after non deterministic commands.', /older than Redis 5/],
])('%s', (message, words) => {
  expect(explainRedisFault(new Error(message))).toMatch(words);
});

test('a fault of the connection needs no explanation', () => {
  expect(explainRedisFault(new Error('Socket closed unexpectedly'))).toBeUndefined();
});

test('a server that is too old', () => {
  const info = (version: string) => `# Server\r\nredis_version:${version}\r\nmaxmemory:0\r\n`;
  expect(redisWarnings(info('4.0.14'))).toEqual([expect.stringMatching(/^Redis 4\.0\.14 is too old/)]);
  expect(redisWarnings(info('7.2.4'))).toEqual([]);
});
