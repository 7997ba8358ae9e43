import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import {
  describeRedis,
  type Engine,
  HOUR,
  newRef,
  redisEngine,
  sha256,
  WatchedClient,
} from './engine-support.ts';

const DEADLINES = { readMs: 500, writeMs: 500 };
const UNAVAILABLE = { name: 'StoreUnavailableError', code: 'ERR_OIDC_STORE_UNAVAILABLE', status: 503 };

const READS = ['load', 'peek'] as const;
const WRITES = ['acquire', 'commit', 'renew', 'remove', 'put', 'take', 'forget'] as const;
type Operation = (typeof READS | typeof WRITES)[number];

describeRedis('Redis out of order', () => {
  let redis: TestRedis;
  let admin: RedisClient;
  let client: WatchedClient;
  let engine: Engine;
  let ref: string;
  let hash: string;

  beforeAll(async () => {
    redis = await startRedis();
  });
  beforeEach(async () => {
    admin = await redis.client();
    client = new WatchedClient(await redis.client());
    engine = redisEngine(client, DEADLINES);
    ref = newRef();
    hash = sha256(newRef());
    await commit(0, 'first');
    await engine.transactions.put(hash, 'payload', HOUR);
  });
  afterEach(() => redis.resume());
  afterAll(() => redis.close());

  const commit = (expected: number, payload: string) =>
    engine.tokens.commit(ref, { expected, payload, ttlMs: HOUR });

  function run(operation: Operation): Promise<unknown> {
    const { tokens, transactions } = engine;
    const operations: Record<Operation, () => Promise<unknown>> = {
      load: () => tokens.load(ref),
      acquire: () => tokens.acquire(ref, 1),
      commit: () => commit(1, 'second'),
      renew: () => tokens.renew(ref, 1, 2 * HOUR),
      remove: () => tokens.remove(newRef()),
      put: () => transactions.put(sha256(newRef()), 'payload', HOUR),
      peek: () => transactions.peek(hash),
      take: () => transactions.take(hash),
      forget: () => transactions.remove(sha256(newRef())),
    };
    return operations[operation]();
  }

  async function expectUnavailable(operations: readonly Operation[]): Promise<void> {
    const results = await Promise.allSettled(operations.map(run));
    for (const [index, result] of results.entries())
      expect([operations[index], result]).toMatchObject([operations[index], { reason: UNAVAILABLE }]);
  }

  /** Nothing was lost or half done, once the client has found the server again. */
  async function expectIntact(): Promise<void> {
    while ((await engine.tokens.load(ref).catch(() => true)) === true);
    expect(await engine.tokens.load(ref)).toMatchObject({ version: 1, payload: 'first' });
    const lease = await engine.tokens.acquire(ref, 1);
    expect(lease.isHeld).toBe(true);
    expect(await commit(1, 'second')).toBe('committed');
    await lease.release();
    expect(await engine.transactions.take(hash)).toBe('payload');
    expect(await engine.tokens.remove(ref)).toMatchObject({ version: 2, payload: 'second' });
  }

  test('C45: after SCRIPT FLUSH a script goes by its text, and by its name again after that', async () => {
    await expectIntact();
    [ref, hash] = [newRef(), sha256(newRef())];
    await admin.sendCommand(['SCRIPT', 'FLUSH']);
    await commit(0, 'first');
    await engine.transactions.put(hash, 'payload', HOUR);
    await expectIntact();
    const sent = client.sent.length;
    await engine.tokens.load(ref);
    expect(client.sent.slice(sent).map(([command]) => command)).toEqual(['EVALSHA']);
  });

  test('C45: a server without memory refuses commits; it can be read, and logouts get through', async () => {
    await admin.configSet('maxmemory', '1');
    await expectUnavailable(['acquire', 'commit', 'take']);
    expect(await engine.tokens.load(ref)).toMatchObject({ version: 1 });
    const ended = newRef();
    expect(await engine.tokens.remove(ended)).toEqual({ state: 'absent' });
    expect(await engine.tokens.load(ended)).toEqual({ state: 'tombstone' });
    await admin.configSet('maxmemory', '0');
    await expectIntact();
  });

  test('C45: a replica can be read and refuses what writes', async () => {
    await admin.sendCommand(['REPLICAOF', '127.0.0.1', '1']);
    await expectUnavailable(WRITES);
    expect(await engine.tokens.load(ref)).toMatchObject({ version: 1, payload: 'first' });
    expect(await engine.transactions.peek(hash)).toMatchObject({ isTaken: false });
    await admin.sendCommand(['REPLICAOF', 'NO', 'ONE']);
    await expectIntact();
  });

  test('a wrong password', async () => {
    await admin.configSet('requirepass', 'a password');
    await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal']);
    await expectUnavailable([...READS, ...WRITES]);
    await admin.sendCommand(['AUTH', 'a password']);
    await admin.configSet('requirepass', '');
    await expectIntact();
  });

  test('C44: a server that hangs is given up in time, for every operation, and works on when it is back', async () => {
    redis.pause();
    await expectUnavailable([...READS, ...WRITES]);
    expect(engine.events.count('storeTimedOut')).toBe(READS.length + WRITES.length);
    // What was sent in time is done late: the commit, the lease, the transaction.
    redis.resume();
    expect(await commit(1, 'second')).toBe('committed');
    expect(await engine.tokens.load(ref)).toMatchObject({ version: 2, payload: 'second' });
    expect(await engine.transactions.take(hash)).toBeUndefined();
  });

  test('C44: a lease that is given when nobody waits for it any more is given back', async () => {
    redis.pause();
    for (let tries = 0; tries < 3; tries += 1) await expectUnavailable(['acquire']);
    redis.resume();
    const other = redisEngine(await redis.client());
    const lease = await other.tokens.acquire(ref, 1);
    expect(lease.isHeld).toBe(true);
    expect(other.events.count('leaseTakenOver')).toBe(0);
    await lease.release();
  });

  test('C45: a server that is down, and then loads its data', async () => {
    const records = Array.from({ length: 1000 }, (_, n) => admin.set(`filler ${n}`, 'x'));
    await Promise.all(records);
    await admin.sendCommand(['SAVE']);
    await redis.stop();
    await expectUnavailable([...READS, ...WRITES]);
    const ready = redis.start(['--key-load-delay', '500', '--loading-process-events-interval-bytes', '1024']);
    const errors = new Set<string>();
    let isLoaded = false;
    void ready.then(() => {
      isLoaded = true;
    });
    while (!isLoaded) {
      await engine.tokens.load(ref).catch((error: Error) => {
        expect(error).toMatchObject(UNAVAILABLE);
        errors.add(String((error.cause as Error | undefined)?.message).split(' ', 1)[0] as string);
      });
    }
    expect(errors).toContain('LOADING');
    await ready;
    await expectIntact();
  });
});
