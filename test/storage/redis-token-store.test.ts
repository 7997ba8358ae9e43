import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import { restoreTime, travel } from '../support/time.ts';
import {
  describeRedis,
  type Engine,
  HOUR,
  isPending,
  keyOf,
  newRef,
  redisEngine,
  sha256,
  WatchedClient,
} from './engine-support.ts';

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

describeRedis('leases in Redis', () => {
  let redis: TestRedis;

  beforeAll(async () => {
    redis = await startRedis();
  });
  afterEach(restoreTime);
  afterAll(() => redis.close());

  /** Processes, each with a connection of its own, and a record at version 1. */
  async function fleet(size: number) {
    const clients: WatchedClient[] = [];
    for (let n = 0; n < size; n += 1) clients.push(new WatchedClient(await redis.client()));
    const engines = clients.map((client) => redisEngine(client));
    const ref = newRef();
    await engines[0]?.tokens.commit(ref, { expected: 0, payload: 'first', ttlMs: HOUR });
    return { clients, engines, ref } as { clients: WatchedClient[]; engines: Engine[]; ref: string };
  }

  type Fleet<T> = [T, T, T, ...T[]];

  test('a lease is one process’s; given back, the next one has it; a newer record needs none', async () => {
    const { clients, engines, ref } = await fleet(3);
    const [a, b, c] = engines as Fleet<Engine>;
    const [, bClient, cClient] = clients as Fleet<WatchedClient>;
    const first = await a.tokens.acquire(ref, 1);
    expect(first).toMatchObject({ isHeld: true, record: { version: 1, payload: 'first' } });
    const waiting = b.tokens.acquire(ref, 1);
    const reading = c.tokens.acquire(ref, 1);
    await Promise.all([bClient.more(3), cClient.more(3)]);
    expect([await isPending(waiting), await isPending(reading)]).toEqual([true, true]);
    await a.tokens.commit(ref, { expected: 1, payload: 'second', ttlMs: HOUR });
    // Still leased, and yet answered.
    for (const answered of [await reading, await waiting]) {
      expect(answered).toMatchObject({ isHeld: false, record: { version: 2, payload: 'second' } });
      await answered.release();
    }
    const insisting = b.tokens.acquire(ref, 2);
    await bClient.more(2);
    expect(await isPending(insisting)).toBe(true);
    await first.release();
    const second = await insisting;
    expect(second).toMatchObject({ isHeld: true, record: { version: 2 } });
    await second.release();
    expect(b.events.count('leaseWaited')).toBe(2);
    expect(b.events.count('leaseTakenOver')).toBe(0);
  });

  test('one process asks the server once for all of its callers', async () => {
    const { clients, engines, ref } = await fleet(1);
    const [a] = engines as Fleet<Engine>;
    const [client] = clients as Fleet<WatchedClient>;
    const first = await a.tokens.acquire(ref, 1);
    await a.tokens.load(ref);
    const sent = client.sent.length;
    const waiting = Array.from({ length: 50 }, () => a.tokens.acquire(ref, 1));
    await a.tokens.load(ref);
    expect(client.sent).toHaveLength(sent + 1);
    await a.tokens.commit(ref, { expected: 1, payload: 'second', ttlMs: HOUR });
    await first.release();
    for (const lease of waiting) {
      expect(await lease).toMatchObject({ isHeld: false, record: { version: 2 } });
      await (await lease).release();
    }
  });

  test('one that is waited for and given back is no forgotten one, however many others came between', async () => {
    const { clients, engines, ref } = await fleet(3);
    const [a, b, c] = engines as Fleet<Engine>;
    const [, bClient] = clients as Fleet<WatchedClient>;
    const first = await a.tokens.acquire(ref, 1);
    const waiting = b.tokens.acquire(ref, 1);
    await bClient.more(2);
    // Between two looks of B the lease goes from A to C, and C gives it back without a commit.
    let resume = () => {};
    bClient.gate = new Promise((resolve) => {
      resume = resolve;
    });
    await first.release();
    await (await c.tokens.acquire(ref, 1)).release();
    bClient.gate = undefined;
    const looks = bClient.sent.length;
    resume();
    const lease = await waiting;
    expect(lease.isHeld).toBe(true);
    expect(bClient.sent.length - looks).toBe(1);
    await lease.release();
  });

  test('C41: a dead holder is followed when its lease ends; one that is slow keeps it by its heartbeat', async () => {
    const { clients, engines, ref } = await fleet(3);
    const [dead, slow, next] = engines as Fleet<Engine>;
    const [deadClient] = clients as Fleet<WatchedClient>;
    const kept = newRef();
    await slow.tokens.commit(kept, { expected: 0, payload: 'first', ttlMs: HOUR });
    const beating = await slow.tokens.acquire(kept, 1);
    const lost = await dead.tokens.acquire(ref, 1);
    deadClient.isDead = true;
    const waiting = next.tokens.acquire(kept, 1);
    const startedAt = Date.now();
    const successor = await next.tokens.acquire(ref, 1);
    expect(successor).toMatchObject({ isHeld: true, record: { version: 1 } });
    // By the server's clock, so that a deviation of the timers does not count.
    expect(Date.now() - startedAt).toBeGreaterThan(2000);
    expect(next.events.count('leaseTakenOver')).toBe(1);
    expect(await isPending(waiting)).toBe(true);
    // The dead one comes back: it neither gives back nor extends what is not its own, and its commit is a fair race.
    deadClient.isDead = false;
    await lost.release();
    const third = slow.tokens.acquire(ref, 1);
    await (clients[1] as WatchedClient).more(3);
    expect(await isPending(third)).toBe(true);
    await successor.release();
    await (await third).release();
    await beating.release();
    await (await waiting).release();
    expect(next.events.count('leaseTakenOver')).toBe(1);
  });

  test('C45: a lease that the server forgot is respected for five seconds past its end, and its holder commits', async () => {
    const { clients, engines, ref } = await fleet(2);
    const [a, b] = engines as Fleet<Engine>;
    const [aClient, bClient] = clients as Fleet<WatchedClient>;
    await aClient.sendCommand(['SAVE']);
    const first = await a.tokens.acquire(ref, 1);
    // Whoever waits is sent away when the server dies, and its user tries again.
    const waiting = b.tokens.acquire(ref, 1).catch(() => b.tokens.acquire(ref, 1));
    await bClient.more(2);
    const seenAt = performance.now();
    // No heartbeat: it would take the lease again.
    aClient.isDead = true;
    await redis.stop();
    await redis.start();
    await bClient.more(4);
    travel(Math.max(0, 7 - (performance.now() - seenAt) / 1000));
    await bClient.more(2);
    expect(await isPending(waiting)).toBe(true);
    aClient.isDead = false;
    expect(await a.tokens.commit(ref, { expected: 1, payload: 'second', ttlMs: HOUR })).toBe('committed');
    expect(await waiting).toMatchObject({ isHeld: false, record: { version: 2, payload: 'second' } });
    await (await waiting).release();
    await first.release();
  });

  test('… and no longer than that', async () => {
    const { clients, engines, ref } = await fleet(2);
    const [a, b] = engines as Fleet<Engine>;
    const [aClient, bClient] = clients as Fleet<WatchedClient>;
    await aClient.sendCommand(['SAVE']);
    await a.tokens.acquire(ref, 1);
    const waiting = b.tokens.acquire(ref, 1).catch(() => b.tokens.acquire(ref, 1));
    await bClient.more(2);
    aClient.isDead = true;
    await redis.stop();
    await redis.start();
    await bClient.more(2);
    travel(8.1);
    const lease = await waiting;
    expect(lease).toMatchObject({ isHeld: true, record: { version: 1 } });
    await lease.release();
  });

  test('a holder takes a forgotten lease again with its next heartbeat, unless another has it', async () => {
    const { clients, engines, ref } = await fleet(2);
    const [a, b] = engines as Fleet<Engine>;
    const [aClient] = clients as Fleet<WatchedClient>;
    const other = newRef();
    await a.tokens.commit(other, { expected: 0, payload: 'first', ttlMs: HOUR });
    await aClient.sendCommand(['SAVE']);
    const held = await a.tokens.acquire(ref, 1);
    const lost = await a.tokens.acquire(other, 1);
    await redis.stop();
    await redis.start();
    // B saw no lease: it cannot know of one.
    const taken = await b.tokens.acquire(other, 1);
    expect(taken.isHeld).toBe(true);
    await aClient.more(3);
    const waiting = b.tokens.acquire(ref, 1);
    await (clients[1] as WatchedClient).more(3);
    expect(await isPending(waiting)).toBe(true);
    await lost.release();
    const third = a.tokens.acquire(other, 1);
    await aClient.more(2);
    expect(await isPending(third)).toBe(true);
    await taken.release();
    await (await third).release();
    await held.release();
    await (await waiting).release();
  });
});
