import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { diagnosticEvents } from '../../src/express/diagnostics.ts';
import { RedisCommands } from '../../src/storage/redis-commands.ts';
import type { StoreBinding } from '../../src/storage/store-binding.ts';
import { type OpenedStore, storeFactories } from '../support/store-factories.ts';
import { type Counted, countingStore, type StoreFaults } from '../support/stores.ts';
import { ANY_VERSION, bind, newRef, sha256 } from './open-binding.ts';

/** For what is out of order; all else has the time that a busy machine needs. */
const DEADLINE_MS = 100;
const PATIENT = { readMs: 5000, writeMs: 5000 };
const TTL_MS = 60_000;

/** The operation that does not work, and how; `throw`: not even a callback is kept. */
const READ_FAULTS = ['fail', 'hang'] as const;
const UNAVAILABLE = { name: 'StoreUnavailableError', code: 'ERR_OIDC_STORE_UNAVAILABLE', status: 503 };

// Not over Redis: its faults are the server's, and are made there.
describe.each(storeFactories)('$name out of order', ({ open }) => {
  let opened: OpenedStore;
  let store: OpenedStore['store'] & Counted;
  let binding: StoreBinding;
  let deadlines: typeof PATIENT;

  const breakDown = (fault: StoreFaults) => {
    store.fault = fault;
    if (fault.get !== undefined) deadlines.readMs = DEADLINE_MS;
    if (fault.set !== undefined || fault.destroy !== undefined) deadlines.writeMs = DEADLINE_MS;
  };
  const mend = () => {
    store.fault = {};
    Object.assign(deadlines, PATIENT);
  };

  beforeEach(async () => {
    opened = await open();
    store = countingStore(opened.store);
    deadlines = { ...PATIENT };
    binding = bind({ store }, deadlines);
  });
  afterEach(() => opened.close());

  const commit = (ref: string, expected: number, payload: string) =>
    binding.tokens.commit(ref, { expected, payload, ttlMs: TTL_MS });

  test.each(READ_FAULTS)(
    'tokens, reads %s: every method says so in time, and all is well afterwards',
    async (fault) => {
      const { tokens } = binding;
      const ref = newRef();
      await commit(ref, 0, 'first');
      breakDown({ get: fault });
      const attempts = [
        tokens.load(ref),
        tokens.acquire(ref, ANY_VERSION),
        commit(ref, 1, 'second'),
        tokens.remove(newRef()),
      ];
      for (const attempt of [...attempts, tokens.renew(ref, 1, TTL_MS)])
        await expect(attempt).rejects.toMatchObject(UNAVAILABLE);
      mend();
      const lease = await tokens.acquire(ref, ANY_VERSION);
      expect(lease.record).toMatchObject({ version: 1, payload: 'first' });
      expect(await commit(ref, 1, 'second')).toBe('committed');
      await lease.release();
    },
  );

  test.each(READ_FAULTS)('tokens, writes %s: nothing is said to be committed', async (fault) => {
    const { tokens } = binding;
    const ref = newRef();
    await commit(ref, 0, 'first');
    breakDown({ set: fault });
    await expect(commit(ref, 1, 'second')).rejects.toMatchObject(UNAVAILABLE);
    await expect(tokens.remove(ref)).rejects.toMatchObject(UNAVAILABLE);
    await expect(tokens.renew(ref, 1, TTL_MS)).rejects.toMatchObject(UNAVAILABLE);
    expect(await tokens.load(ref)).toMatchObject({ version: 1, payload: 'first' });
    mend();
    expect(await commit(ref, 1, 'second')).toBe('committed');
    expect(await tokens.remove(ref)).toMatchObject({ version: 2 });
  });

  test('a write that was reported as failed and arrived: the same commit again is committed', async () => {
    const ref = newRef();
    breakDown({ set: DEADLINE_MS + 50 });
    await expect(commit(ref, 0, 'first')).rejects.toMatchObject(UNAVAILABLE);
    mend();
    while ((await binding.tokens.load(ref)).state === 'absent') await new Promise(setImmediate);
    expect(await commit(ref, 0, 'first')).toBe('committed');
    expect(await binding.tokens.load(ref)).toMatchObject({ version: 1 });
  });

  test('a store that throws is a store that fails', async () => {
    const { get } = store;
    store.get = () => {
      throw new Error('not connected');
    };
    await expect(binding.tokens.load(newRef())).rejects.toMatchObject(UNAVAILABLE);
    await expect(binding.transactions.peek(sha256(newRef()))).rejects.toMatchObject(UNAVAILABLE);
    store.get = get;
    expect(await binding.tokens.load(newRef())).toEqual({ state: 'absent' });
  });

  test.each(READ_FAULTS)(
    'transactions, %s: in time; what could not be marked as taken is not given away',
    async (fault) => {
      const { transactions } = binding;
      const [hash, other] = [sha256(newRef()), sha256(newRef())];
      await transactions.put(hash, 'payload', TTL_MS);
      breakDown({ get: fault, set: fault, destroy: fault });
      const attempts = [
        transactions.put(other, 'x', TTL_MS),
        transactions.peek(hash),
        transactions.take(hash),
      ];
      for (const attempt of [...attempts, transactions.remove(hash)])
        await expect(attempt).rejects.toMatchObject(UNAVAILABLE);
      breakDown({ set: fault });
      await expect(transactions.take(hash)).rejects.toMatchObject(UNAVAILABLE);
      mend();
      expect(await transactions.take(hash)).toBe('payload');
      expect(await transactions.take(hash)).toBeUndefined();
    },
  );
});

test('Redis: a process that stood still for longer than the deadline takes the answer that is there', async () => {
  const timedOut = jest.fn();
  const client = {
    sendCommand: async () => {
      await new Promise(setImmediate);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
      await new Promise(setImmediate);
      return 'answer';
    },
  };
  const deadlines = { readMs: 30, writeMs: 30 };
  const events = { ...diagnosticEvents, storeTimedOut: timedOut };
  const commands = new RedisCommands(client, deadlines, events);
  expect(await commands.read('key', 'GET')).toBe('answer');
  expect(await commands.write('key', 'SET', 'x')).toBe('answer');
  expect(timedOut).not.toHaveBeenCalled();
});
