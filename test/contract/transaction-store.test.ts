import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { TransactionStore } from '../../src/core/ports.ts';
import { allFactories, type OpenedStore } from '../support/store-factories.ts';
import { restoreTime, travel } from '../support/time.ts';
import { bind, isInRedis, newRef, sha256 } from './open-binding.ts';

const QUARTER_HOUR = 900_000;

describe.each(allFactories)('TransactionStore over $name', ({ name, open }) => {
  let opened: OpenedStore;
  let transactions: TransactionStore;
  let theirs: TransactionStore;

  beforeAll(async () => {
    opened = await open();
    transactions = bind(opened).transactions;
    theirs = bind(opened.reopen()).transactions;
  });
  afterEach(restoreTime);
  afterAll(() => opened.close());

  const newHash = () => sha256(newRef());

  test('what was put can be read, as often as wanted, also by another process, and taken once; it stays as taken', async () => {
    const hash = newHash();
    await transactions.put(hash, 'payload', QUARTER_HOUR);
    const untaken = { payload: 'payload', isTaken: false };
    expect([await transactions.peek(hash), await theirs.peek(hash)]).toEqual([untaken, untaken]);
    expect(await theirs.take(hash)).toBe('payload');
    expect(await transactions.take(hash)).toBeUndefined();
    const taken = { payload: 'payload', isTaken: true };
    expect([await transactions.peek(hash), await theirs.peek(hash)]).toEqual([taken, taken]);
  });

  test('of many takers at once one gets it', async () => {
    const hash = newHash();
    await transactions.put(hash, 'payload', QUARTER_HOUR);
    const taken = await Promise.all(Array.from({ length: 10 }, () => transactions.take(hash)));
    expect(taken.filter((payload) => payload === 'payload')).toHaveLength(1);
    expect(taken.filter((payload) => payload === undefined)).toHaveLength(9);
  });

  test('of many takers in two processes one gets it', async () => {
    // Of one transaction, or over new connections, all might happen to come one after the other.
    const hashes = Array.from({ length: 8 }, newHash);
    await Promise.all(hashes.map((hash) => transactions.put(hash, 'payload', QUARTER_HOUR)));
    await Promise.all(hashes.map((hash) => theirs.peek(hash)));
    const takers = [transactions, theirs, transactions, theirs];
    const taken = await Promise.all(
      hashes.map((hash) => Promise.all(takers.map((store) => store.take(hash)))),
    );
    for (const payloads of taken)
      expect(payloads.filter((payload) => payload !== undefined)).toEqual(['payload']);
  });

  test('what was never put, or removed, is not there; removing it again is no error', async () => {
    const [never, hash] = [newHash(), newHash()];
    expect([await transactions.peek(never), await transactions.take(never)]).toEqual([undefined, undefined]);
    await transactions.put(hash, 'payload', QUARTER_HOUR);
    await transactions.remove(hash);
    await transactions.remove(hash);
    await transactions.remove(never);
    expect(await transactions.take(hash)).toBeUndefined();
  });

  test('one does not touch another', async () => {
    const [one, other] = [newHash(), newHash()];
    await Promise.all([transactions.put(one, '1', QUARTER_HOUR), transactions.put(other, '2', QUARTER_HOUR)]);
    expect(await transactions.take(one)).toBe('1');
    expect(await transactions.take(other)).toBe('2');
  });

  if (!isInRedis(name)) {
    test('it ends with its time', async () => {
      const [one, other] = [newHash(), newHash()];
      await transactions.put(one, '1', QUARTER_HOUR);
      await transactions.put(other, '2', QUARTER_HOUR);
      travel(899);
      expect(await transactions.take(one)).toBe('1');
      travel(2);
      expect(await transactions.peek(other)).toBeUndefined();
      expect(await transactions.take(other)).toBeUndefined();
    });
  }
});
