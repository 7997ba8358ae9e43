import { afterEach, describe, expect, test } from '@jest/globals';
import { MemoryStore, type Store } from 'express-session';
import { StoreUnavailableError } from '../../src/core/errors.ts';
import { SessionTokenStore, SessionTransactionStore } from '../../src/storage/session-token-store.ts';
import { latencyStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { HOUR, isPending, newRef, recordEvents, sha256 } from './engine-support.ts';
import { callsOf, ReleasedLock, releaseAll, wait } from './timed-lock-support.ts';

afterEach(releaseAll);

describe('transactions under the timed lock', () => {
  const open = (store: Store) =>
    new SessionTransactionStore(callsOf(store), new ReleasedLock(callsOf(store)));

  test('of takers in four processes on a store with latency one gets it', async () => {
    const taken = await Promise.all(
      [1, 2, 3, 4, 5, 6].map(async (seed) => {
        const store = latencyStore(0, 30, seed);
        const processes = [1, 2, 3, 4].map(() => open(store));
        const hash = sha256(newRef());
        await processes[0]?.put(hash, 'payload', HOUR);
        const payloads = await Promise.all(processes.map((transactions) => transactions.take(hash)));
        return payloads.filter((payload) => payload !== undefined);
      }),
    );
    expect(taken).toEqual(Array(6).fill(['payload']));
  });

  test('a transaction that a dead process locked and did not take is taken when its lock ends', async () => {
    const store = new MemoryStore();
    const hash = sha256(newRef());
    await open(store).put(hash, 'payload', HOUR);
    await new ReleasedLock(callsOf(store)).tryTake(`tx.${hash}`);
    const taking = open(store).take(hash);
    await wait(50);
    expect(await isPending(taking)).toBe(true);
    travel(3.1);
    expect(await taking).toBe('payload');
  });

  test('a process that finds it taken while it waits for the lock has nothing', async () => {
    const store = new MemoryStore();
    const hash = sha256(newRef());
    const theirs = open(store);
    await theirs.put(hash, 'payload', HOUR);
    const takers = await Promise.all([theirs.take(hash), open(store).take(hash)]);
    expect(takers.filter((payload) => payload === 'payload')).toHaveLength(1);
  });
});

test('a lease of any store: waited for, taken over, and both told', async () => {
  const store = new MemoryStore();
  const [mine, theirs] = [recordEvents(), recordEvents()];
  const open = (events: typeof mine) =>
    new SessionTokenStore(callsOf(store), new ReleasedLock(callsOf(store)), events);
  const [a, b] = [open(mine), open(theirs)];
  const ref = newRef();
  await a.commit(ref, { expected: 0, payload: 'first', ttlMs: HOUR });
  await a.acquire(ref, 1);
  const waiting = b.acquire(ref, 1);
  await wait(100);
  expect(await isPending(waiting)).toBe(true);
  travel(3.1);
  expect(await waiting).toMatchObject({ isHeld: true, record: { version: 1 } });
  expect([theirs.count('leaseWaited'), theirs.count('leaseTakenOver')]).toEqual([1, 1]);
});

test('a text that cannot be parsed is no record to a login or a logout, and no reason to drop a refreshed token', async () => {
  const store = new MemoryStore();
  const tokens = new SessionTokenStore(callsOf(store), undefined, recordEvents());
  const ref = newRef();
  await tokens.commit(ref, { expected: 0, payload: 'first', ttlMs: HOUR });
  const { sessions } = store as unknown as { sessions: Record<string, string> };
  const id = `oidc.${sha256(ref)}`;
  const whole = sessions[id]!;
  const half = whole.slice(0, whole.length / 2);
  sessions[id] = half;
  expect(await tokens.load(ref)).toEqual({ state: 'absent' });
  const refreshed = { expected: 1, payload: 'second', ttlMs: HOUR };
  await expect(tokens.commit(ref, refreshed)).rejects.toThrow(StoreUnavailableError);
  sessions[id] = whole;
  expect(await tokens.commit(ref, refreshed)).toBe('committed');
  sessions[id] = half;
  expect(await tokens.commit(ref, { expected: 0, payload: 'of a login', ttlMs: HOUR })).toBe('committed');
  sessions[id] = half;
  await tokens.remove(ref);
  expect(await tokens.load(ref)).toEqual({ state: 'tombstone' });
});
