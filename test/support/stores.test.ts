import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { MemoryStore, type SessionData, type Store } from 'express-session';
import { openidClient, signIn } from './client.ts';
import { collectConsole, expectNoSecrets } from './leaks.ts';
import { postgresAvailable, startPostgres } from './postgres.ts';
import { startProvider } from './provider.ts';
import { redisAvailable, startRedis, type TestRedis } from './redis.ts';
import { allFactories, type OpenedStore } from './store-factories.ts';
import { countingStore, latencyStore } from './stores.ts';
import { restoreTime, travel } from './time.ts';

afterEach(restoreTime);

const record = (user: string) => ({ cookie: { originalMaxAge: 60_000 }, user }) as unknown as SessionData;

function operations(store: Store) {
  return {
    get: promisify(store.get.bind(store)) as (sid: string) => Promise<SessionData | null | undefined>,
    set: promisify(store.set.bind(store)),
    destroy: promisify(store.destroy.bind(store)),
  };
}

describe.each(allFactories)('$name', ({ open }) => {
  let opened: OpenedStore;
  beforeAll(async () => {
    opened = await open();
  });
  afterAll(() => opened.close());

  test('keeps records, which another process sees, until they are destroyed', async () => {
    const [mine, theirs] = [operations(opened.store), operations(opened.reopen().store)];
    await mine.set('oidc.1', record('alice'));
    expect(await theirs.get('oidc.1')).toMatchObject({ user: 'alice' });
    await theirs.destroy('oidc.1');
    // Some stores answer an unknown id with an ENOENT error, which express-session takes for "none".
    const absent = await mine.get('oidc.1').catch((error) => error.code);
    expect([null, undefined, 'ENOENT']).toContain(absent);
  });
});

test('a counting store counts by prefix, fails, hangs and is late', async () => {
  const store = countingStore();
  const { get, set } = operations(store);
  await set('oidc.1', record('a'));
  await set('session', record('b'));
  await get('session');
  expect([
    store.count(),
    store.count('set'),
    store.count('set', 'oidc.'),
    store.count(undefined, { not: 'oidc.' }),
  ]).toEqual([3, 2, 1, 2]);
  store.fault = { set: (sid) => (sid === 'session' ? 'fail' : undefined), get: 30 };
  await expect(set('session', record('c'))).rejects.toThrow('the store failed to set');
  await set('oidc.1', record('d'));
  const start = performance.now();
  expect(await get('session')).toMatchObject({ user: 'b' });
  expect(performance.now() - start).toBeGreaterThan(25);
  const done = jest.fn();
  store.fault = { destroy: 'hang' };
  store.destroy('session', done);
  store.fault = {};
  expect(await get('session')).toMatchObject({ user: 'b' });
  expect(done).not.toHaveBeenCalled();
});

test('a far store answers out of order, in the same order each time', async () => {
  const finished = async (seed: number) => {
    // Far enough apart that a busy machine does not change the order.
    const { set } = operations(latencyStore(0, 300, seed, new MemoryStore()));
    const order: number[] = [];
    await Promise.all([0, 1, 2, 3, 4].map((n) => set(`${n}`, record('a')).then(() => order.push(n))));
    return order;
  };
  const first = await finished(3);
  expect(first).not.toEqual([0, 1, 2, 3, 4]);
  expect(await finished(3)).toEqual(first);
});

test('express-session’s records follow the travelled clock', async () => {
  const { get, set } = operations(new MemoryStore());
  const expires = new Date(Date.now() + 60_000);
  await set('s', { ...record('a'), cookie: { originalMaxAge: 60_000, expires } });
  travel(59);
  expect(await get('s')).toBeDefined();
  travel(2);
  expect(await get('s')).toBeUndefined();
});

(redisAvailable() ? describe : describe.skip)('Redis', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis(['--appendonly', 'yes', '--appendfsync', 'always']);
  });
  afterAll(() => redis.close());

  test('killed and started again with its data; paused and resumed', async () => {
    const client = await redis.client();
    await client.set('a', '1');
    await redis.stop('SIGKILL');
    await redis.start();
    expect(await (await redis.client()).get('a')).toBe('1');
    redis.pause();
    const impatient = redis.client({ socket: { socketTimeout: 50, reconnectStrategy: false } });
    await expect(impatient).rejects.toThrow();
    redis.resume();
    expect(await (await redis.client()).get('a')).toBe('1');
  });
});

(postgresAvailable() ? describe : describe.skip)('PostgreSQL', () => {
  test('ended at once and started again with its data', async () => {
    const postgres = await startPostgres();
    try {
      const pool = postgres.pool();
      const table = `${await postgres.schema()}.session`;
      await pool.query(`INSERT INTO ${table} (sid, sess, expire) VALUES ('a', '{}', now())`);
      await postgres.stop();
      await expect(pool.query(`SELECT sid FROM ${table}`)).rejects.toThrow();
      await postgres.start();
      expect((await pool.query(`SELECT sid FROM ${table}`)).rows).toEqual([{ sid: 'a' }]);
    } finally {
      await postgres.close();
    }
  });
});

test('secrets are found in clear and encoded; the console is collected', async () => {
  const provider = await startProvider();
  const { access_token, refresh_token } = await signIn(await openidClient(provider));
  const output = collectConsole();
  console.warn('careful', { access_token });
  output.restore();
  expect(output.lines).toMatchObject([{ method: 'warn' }]);
  expect(() => expectNoSecrets(output.text(), provider)).toThrow('access_token');
  expectNoSecrets(output.text(), provider, { except: ['access_token'] });
  const encoded = Buffer.from(refresh_token!).toString('base64');
  expect(() => expectNoSecrets({ nested: [{ encoded }] }, provider)).toThrow('refresh_token');
  expect(() => expectNoSecrets(provider.client.clientSecret, provider)).toThrow('client_secret');
  provider.clearCalls();
  expect(() => expectNoSecrets(refresh_token, provider)).toThrow('refresh_token');
  expectNoSecrets('nothing here', provider);
  await provider.close();
});
