import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import { describeRedis, type Engine, HOUR, keyOf, newRef, redisEngine, sha256 } from './engine-support.ts';

// What every store holds to is in test/contract; here is what only Redis does.
describeRedis('records in Redis', () => {
  let redis: TestRedis;
  let client: RedisClient;
  let mine: Engine;
  let theirs: Engine;

  beforeAll(async () => {
    redis = await startRedis();
    client = await redis.client();
    mine = redisEngine(client);
    theirs = redisEngine(await redis.client());
  });
  afterAll(() => redis.close());

  const commit = (ref: string, expected: number, payload: string, ttlMs = HOUR) =>
    mine.tokens.commit(ref, { expected, payload, ttlMs });

  test('a payload comes back as it was, whatever is in it, and as large as it gets', async () => {
    const payloads = ['{"a":1.0,"b":[],"c":{}}', 'Zoë \u0000 \u2028 "\\', 'x'.repeat(1024 * 1024)];
    for (const payload of payloads) {
      const ref = newRef();
      expect(await commit(ref, 0, payload)).toBe('committed');
      expect(await theirs.tokens.load(ref)).toMatchObject({ version: 1, payload });
    }
  });

  test('of commits from two processes on one version one wins; versions count on past ten', async () => {
    const ref = newRef();
    for (let version = 0; version < 12; version += 1) {
      const results = await Promise.all([
        commit(ref, version, `mine ${version}`),
        theirs.tokens.commit(ref, { expected: version, payload: `theirs ${version}`, ttlMs: HOUR }),
      ]);
      expect(results.sort()).toEqual(['committed', 'newer']);
    }
    expect(await mine.tokens.load(ref)).toMatchObject({ version: 12 });
  });

  test('the same payload again is committed, also while somebody else holds the lease', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    const lease = await theirs.tokens.acquire(ref, 1);
    expect(await commit(ref, 1, 'second')).toBe('committed');
    expect(await commit(ref, 1, 'second')).toBe('committed');
    expect(await mine.tokens.load(ref)).toMatchObject({ version: 2, payload: 'second' });
    await lease.release();
  });

  test('a record and its lease share one key, which ends with the record: a lease keeps nothing alive', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first', 60_000);
    const lease = await mine.tokens.acquire(ref, 1);
    expect(await client.keys(`*${sha256(ref)}*`)).toEqual([keyOf(ref)]);
    expect(await client.pTTL(keyOf(ref))).toBeLessThanOrEqual(60_000);
    await lease.release();
    expect(await client.pTTL(keyOf(ref))).toBeGreaterThan(0);
  });

  test('what is not there, or ended, has no lease, and asking makes nothing', async () => {
    const [never, ended] = [newRef(), newRef()];
    await mine.tokens.remove(ended);
    for (const [ref, state] of [
      [never, 'absent'],
      [ended, 'tombstone'],
    ] as const) {
      const lease = await mine.tokens.acquire(ref, 0);
      expect(lease).toMatchObject({ record: { state }, isHeld: false });
      await lease.release();
    }
    expect(await client.exists(keyOf(never))).toBe(0);
  });

  test('a tombstone ends the lease with the record, holds no token and stays for a minute', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    const lease = await mine.tokens.acquire(ref, 1);
    expect(await theirs.tokens.remove(ref)).toMatchObject({ state: 'present', payload: 'first' });
    expect(await client.hGetAll(keyOf(ref))).toEqual({ t: '1' });
    const ttl = await client.pTTL(keyOf(ref));
    expect(ttl).toBeGreaterThan(50_000);
    expect(ttl).toBeLessThanOrEqual(60_000);
    expect(await commit(ref, 1, 'second')).toBe('tombstone');
    await lease.release();
    expect(await client.hGetAll(keyOf(ref))).toEqual({ t: '1' });
  });

  test('a record that ended with its time is not made again by a commit that was made from it', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first', 20);
    while ((await mine.tokens.load(ref)).state !== 'absent');
    expect(await commit(ref, 1, 'second')).toBe('newer');
    expect(await client.exists(keyOf(ref))).toBe(0);
  });

  test('a transaction is taken at most once over all processes, and stays readable as taken for a minute', async () => {
    const hash = sha256(newRef());
    await mine.transactions.put(hash, 'payload', HOUR);
    const takers = Array.from({ length: 20 }, (_, n) => (n % 2 ? mine : theirs).transactions.take(hash));
    const taken = (await Promise.all(takers)).filter((payload) => payload !== undefined);
    expect(taken).toEqual(['payload']);
    expect(await mine.transactions.peek(hash)).toEqual({ payload: 'payload', isTaken: true });
    expect(await client.pTTL(`sess:oidc.tx.${hash}`)).toBeLessThanOrEqual(60_000);
    // A login whose `state` comes again is a new one.
    await mine.transactions.put(hash, 'again', HOUR);
    expect(await theirs.transactions.take(hash)).toBe('again');
  });
});
