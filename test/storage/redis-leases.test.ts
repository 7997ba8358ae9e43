import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { Lease } from '../../src/core/ports.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { restoreTime, travel } from '../support/time.ts';
import {
  describeRedis,
  type Engine,
  HOUR,
  isPending,
  newRef,
  redisEngine,
  WatchedClient,
} from './engine-support.ts';

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

  /** Whoever waits is sent away when the server dies, and its user tries again. */
  async function persist({ tokens }: Engine, ref: string): Promise<Lease> {
    for (;;) {
      const lease = await tokens.acquire(ref, 1).catch(() => undefined);
      if (lease !== undefined) return lease;
    }
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

  test('who waits bears one poll that fails, not two in a row, and not the first', async () => {
    const { clients, engines, ref } = await fleet(2);
    const [a, b] = engines as Fleet<Engine>;
    const [, bClient] = clients as Fleet<WatchedClient>;
    bClient.failures = 1;
    await expect(b.tokens.acquire(ref, 1)).rejects.toMatchObject({ status: 503 });
    const first = await a.tokens.acquire(ref, 1);
    const waiting = b.tokens.acquire(ref, 1);
    for (let round = 0; round < 2; round += 1) {
      await bClient.more(2);
      bClient.failures = 1;
      await bClient.more(2);
      expect(await isPending(waiting)).toBe(true);
    }
    await first.release();
    const second = await waiting;
    expect(second.isHeld).toBe(true);
    await second.release();
    const third = await a.tokens.acquire(ref, 1);
    const hopeless = b.tokens.acquire(ref, 1);
    await bClient.more(1);
    bClient.failures = 2;
    await expect(hopeless).rejects.toMatchObject({ status: 503 });
    await third.release();
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
    const waiting = persist(b, ref);
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
    const waiting = persist(b, ref);
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
    await (await a.tokens.acquire(other, 1)).release();
    // The second lease: B will have the first one of the server that knows of none.
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
