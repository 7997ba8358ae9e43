import { afterEach, describe, expect, test } from '@jest/globals';
import { MemoryStore, type SessionData } from 'express-session';
import type { HeldLock, TimedLock } from '../../src/storage/timed-lock.ts';
import { latencyStore, seededRandom } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { isPending } from './engine-support.ts';
import { callsOf, GatedStore, ReleasedLock, releaseAll, wait } from './timed-lock-support.ts';

afterEach(releaseAll);

async function take(lock: TimedLock, name: string, random: () => number = Math.random): Promise<HeldLock> {
  for (;;) {
    const held = await lock.tryTake(name);
    if (held !== undefined) return held;
    await new Promise((resolve) => setTimeout(resolve, 10 + 40 * random()));
  }
}

describe('TimedLock', () => {
  // One lock each, at the same time: it is waiting that takes the time.
  const SEEDS = Array.from({ length: 16 }, (_, n) => n + 1);

  test('C47: never two holders, whatever a store that is 0 to 30 ms away makes of their order', async () => {
    const mostAtOnce = await Promise.all(
      SEEDS.map(async (seed) => {
        const random = seededRandom(seed);
        const store = latencyStore(0, 30, seed);
        let holders = 0;
        let most = 0;
        let taken = 0;
        const contend = async () => {
          const lock = new ReleasedLock(callsOf(store));
          for (let round = 0; round < 2; round += 1) {
            await wait(20 * random());
            const held = await take(lock, 'record', random);
            holders += 1;
            taken += 1;
            most = Math.max(most, holders);
            await wait(40 * random());
            holders -= 1;
            await held.release();
          }
        };
        await Promise.all([contend(), contend(), contend(), contend()]);
        expect(taken).toBe(8);
        return most;
      }),
    );
    expect(mostAtOnce).toEqual(SEEDS.map(() => 1));
  }, 90_000);

  test('a write that comes late does not put a second holder beside the first', async () => {
    const store = new GatedStore();
    const [slow, fast] = [new ReleasedLock(callsOf(store)), new ReleasedLock(callsOf(store))];
    let arrive = () => {};
    const delayed = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    let writes = 0;
    store.gate = (operation) => {
      if (operation !== 'set') return undefined;
      writes += 1;
      return writes === 1 ? delayed : undefined;
    };
    const late = slow.tryTake('record');
    while (writes === 0) await wait(1);
    const held = await fast.take('record');
    arrive();
    // The first one puts its name back with its next heartbeat, which the late one waits for.
    expect(await late).toBeUndefined();
    expect(await slow.tryTake('record')).toBeUndefined();
    await held.release();
    await slow.take('record');
  });

  test('a write that comes late where nobody else was: the lock is had after a heartbeat', async () => {
    const store = new GatedStore();
    let writes = 0;
    store.gate = (operation) => {
      writes += operation === 'set' ? 1 : 0;
      return operation === 'set' && writes === 1 ? wait(100) : undefined;
    };
    await new ReleasedLock(callsOf(store)).take('record');
    expect(writes).toBe(1);
  });

  test('a look that comes back late is no reason to write', async () => {
    const store = new GatedStore();
    let gets = 0;
    store.gate = (operation) => {
      gets += operation === 'get' ? 1 : 0;
      return gets === 1 ? wait(40) : undefined;
    };
    const lock = new ReleasedLock(callsOf(store));
    expect(await lock.tryTake('record')).toBeUndefined();
    expect(store.traffic.filter(({ operation }) => operation === 'set')).toEqual([]);
    await lock.take('record');
  });

  test.each([
    ['a fast store', 0, 60],
    ['a slow one', 20, 4 * (20 + 20)],
  ])('δ over %s: at least 60 ms and four times a write and a read', async (_title, latencyMs, leastMs) => {
    const store = new GatedStore();
    store.gate = () => (latencyMs > 0 ? wait(latencyMs) : undefined);
    const lock = new ReleasedLock(callsOf(store));
    await (await take(lock, 'first')).release();
    store.traffic.length = 0;
    const held = await take(lock, 'second');
    const written = store.traffic.findLast(({ operation }) => operation === 'set');
    const readBack = store.traffic.at(-1);
    const deltaMs = (readBack?.startedAt ?? 0) - (written?.endedAt ?? 0);
    // A timer may fire a millisecond early.
    expect(deltaMs).toBeGreaterThanOrEqual(leastMs - 2);
    await held.release();
  });

  test('δ is what the store took in the last minute: a store that was slow once is soon fast again', async () => {
    const store = new GatedStore();
    let delayMs = 150;
    store.gate = () => (delayMs > 0 ? wait(delayMs) : undefined);
    const lock = new ReleasedLock(callsOf(store));
    const deltaMs = async () => {
      store.traffic.length = 0;
      const held = await take(lock, 'record');
      const written = store.traffic.findLast(({ operation }) => operation === 'set');
      const readBack = store.traffic.at(-1);
      await held.release();
      return (readBack?.startedAt ?? 0) - (written?.endedAt ?? 0);
    };
    await deltaMs();
    delayMs = 0;
    expect(await deltaMs()).toBeGreaterThan(1000);
    travel(61);
    // A busy machine may be slow once more, not three times.
    expect(Math.min(await deltaMs(), await deltaMs(), await deltaMs())).toBeLessThan(1000);
  });

  test('a lock that nobody gave back is taken over when it ends, and not before', async () => {
    const store = new MemoryStore();
    const [dead, next] = [new ReleasedLock(callsOf(store)), new ReleasedLock(callsOf(store))];
    expect((await dead.take('record')).isTakeover).toBe(false);
    travel(2.5);
    expect(await next.tryTake('record')).toBeUndefined();
    travel(0.6);
    const held = await next.take('record');
    expect(held.isTakeover).toBe(true);
    await held.release();
    expect((await dead.take('record')).isTakeover).toBe(false);
  });

  test('a name whose write is reported as failed, and arrived, holds up nobody', async () => {
    const store = new MemoryStore();
    const lost = new MemoryStore();
    Object.assign(lost, {
      get: store.get.bind(store),
      set: (id: string, session: SessionData, done: (error?: unknown) => void) =>
        store.set(id, session, () => done(isLosing ? new Error('no answer') : undefined)),
    });
    let isLosing = true;
    const a = new ReleasedLock(callsOf(lost));
    await expect(a.tryTake('record')).rejects.toThrow('could not write');
    isLosing = false;
    expect((await new ReleasedLock(callsOf(store)).take('record')).isTakeover).toBe(false);
  });

  test('a name whose write failed, while another took the lock, does not free that', async () => {
    const store = new MemoryStore();
    const other = new ReleasedLock(callsOf(store));
    const failing = new MemoryStore();
    Object.assign(failing, {
      get: store.get.bind(store),
      set: (id: string, session: SessionData, done: (error?: unknown) => void) => {
        if (isTaken) store.set(id, session, done);
        else void other.take('record').then(() => done(new Error('no answer')));
        isTaken = true;
      },
    });
    let isTaken = false;
    const late = new ReleasedLock(callsOf(failing));
    await expect(late.tryTake('record')).rejects.toThrow('could not write');
    // As many calls as it needs to look at the lock and to free it.
    for (let calls = 0; calls < 5; calls += 1) await callsOf(store).get('another');
    expect(await new ReleasedLock(callsOf(store)).tryTake('record')).toBeUndefined();
  });

  test('one that woke up after its lock was taken over neither frees nor keeps it', async () => {
    const store = new MemoryStore();
    const [stalled, next] = [new ReleasedLock(callsOf(store)), new ReleasedLock(callsOf(store))];
    const lost = await stalled.take('record');
    travel(3.1);
    const held = await next.take('record');
    await lost.release();
    expect(await stalled.tryTake('record')).toBeUndefined();
    await held.release();
    await stalled.take('record');
  });

  test('a lock that the store forgot is respected for five seconds past its end by whoever saw it', async () => {
    const store = new MemoryStore();
    const [a, saw, never] = [1, 2, 3].map(() => new ReleasedLock(callsOf(store))) as [
      TimedLock,
      TimedLock,
      TimedLock,
    ];
    const held = await a.take('record');
    expect(await saw.tryTake('record')).toBeUndefined();
    await new Promise<void>((resolve) => store.clear(() => resolve()));
    expect(await saw.tryTake('record')).toBeUndefined();
    travel(7.5);
    expect(await saw.tryTake('record')).toBeUndefined();
    await (await never.take('record')).release();
    travel(0.6);
    await saw.take('record');
    await held.release();
  });

  test('one that was given back is no forgotten one, however many others came between', async () => {
    const store = new MemoryStore();
    const [a, b, c] = [1, 2, 3].map(() => new ReleasedLock(callsOf(store))) as [
      TimedLock,
      TimedLock,
      TimedLock,
    ];
    const first = await a.take('record');
    expect(await b.tryTake('record')).toBeUndefined();
    await first.release();
    await (await c.take('record')).release();
    await b.take('record');
  });

  test('a heartbeat keeps the lock and tells a store that forgot it; none is written after the release', async () => {
    const store = new GatedStore();
    const [a, b] = [new ReleasedLock(callsOf(store)), new ReleasedLock(callsOf(store))];
    const held = await a.take('record');
    await new Promise<void>((resolve) => store.clear(() => resolve()));
    let isBeating = false;
    let arrive = () => {};
    const delayed = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    store.gate = (operation, record) => {
      if (operation !== 'set' || record?.released === true) return undefined;
      isBeating = true;
      return delayed;
    };
    while (!isBeating) await wait(10);
    const released = held.release();
    expect(await isPending(released)).toBe(true);
    arrive();
    await released;
    store.gate = () => undefined;
    expect((await b.take('record')).isTakeover).toBe(false);
  });
});
