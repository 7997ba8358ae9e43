import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Store } from 'express-session';
import type { TokenStore } from '../../src/core/ports.ts';
import { allFactories, type OpenedStore } from '../support/store-factories.ts';
import { restoreTime, travel } from '../support/time.ts';
import { ANY_VERSION, bind, isInRedis, newRef, sha256 } from './open-binding.ts';

const HOUR = 3_600_000;
const LATE = Symbol('still waiting');

/** The store's own turn: whatever had a free way is done when this is. */
async function turn(tokens: TokenStore): Promise<typeof LATE> {
  await tokens.load(newRef());
  await tokens.load(newRef());
  return LATE;
}

describe.each(allFactories)('TokenStore over $name', ({ name, open }) => {
  let opened: OpenedStore;
  let tokens: TokenStore;
  let theirs: TokenStore;

  beforeAll(async () => {
    opened = await open();
    tokens = bind(opened).tokens;
    theirs = bind(opened.reopen()).tokens;
  });
  afterEach(restoreTime);
  afterAll(() => opened.close());

  const commit = (ref: string, expected: number, payload: string, ttlMs = HOUR) =>
    tokens.commit(ref, { expected, payload, ttlMs });

  test('nothing is there before the first commit', async () => {
    expect(await tokens.load(newRef())).toEqual({ state: 'absent' });
  });

  test('a commit counts the version up and is seen by another process', async () => {
    const ref = newRef();
    expect(await commit(ref, 0, 'first')).toBe('committed');
    expect(await tokens.load(ref)).toMatchObject({ state: 'present', version: 1, payload: 'first' });
    expect(await commit(ref, 1, 'second')).toBe('committed');
    expect(await theirs.load(ref)).toMatchObject({ state: 'present', version: 2, payload: 'second' });
  });

  test('a commit from an older version than the stored one changes nothing', async () => {
    const ref = newRef();
    expect(await commit(ref, 1, 'from nowhere')).toBe('newer');
    expect(await tokens.load(ref)).toEqual({ state: 'absent' });
    await commit(ref, 0, 'first');
    await commit(ref, 1, 'second');
    for (const expected of [0, 1]) expect(await commit(ref, expected, 'stale')).toBe('newer');
    expect(await tokens.load(ref)).toMatchObject({ version: 2, payload: 'second' });
  });

  test('the same payload committed again is committed, once', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    expect(await commit(ref, 0, 'first')).toBe('committed');
    expect(await tokens.load(ref)).toMatchObject({ version: 1, payload: 'first' });
  });

  test('of many commits from one version one wins, and its payload is what is stored', async () => {
    const ref = newRef();
    await commit(ref, 0, 'start');
    const results = await Promise.all(
      Array.from({ length: 10 }, async (_, n) => ({ n, result: await commit(ref, 1, `payload ${n}`) })),
    );
    const winners = results.filter(({ result }) => result === 'committed');
    expect(winners).toHaveLength(1);
    expect(results.filter(({ result }) => result === 'newer')).toHaveLength(9);
    expect(await tokens.load(ref)).toMatchObject({ version: 2, payload: `payload ${winners[0]?.n}` });
  });

  test('a store that came back with older data takes what was made from newer; what is gone stays gone', async () => {
    const [ref, gone] = [newRef(), newRef()];
    await commit(ref, 0, 'first');
    expect(await commit(ref, 3, 'fourth')).toBe('committed');
    expect(await tokens.load(ref)).toMatchObject({ version: 4, payload: 'fourth' });
    expect(await commit(ref, 1, 'second')).toBe('newer');
    expect(await commit(gone, 3, 'fourth')).toBe('newer');
    expect(await tokens.load(gone)).toEqual({ state: 'absent' });
  });

  test('a record does not touch another one', async () => {
    const [one, other] = [newRef(), newRef()];
    await Promise.all([commit(one, 0, 'one'), commit(other, 0, 'other')]);
    await tokens.remove(one);
    expect(await tokens.load(other)).toMatchObject({ version: 1, payload: 'other' });
  });

  test('what is removed leaves a tombstone that refuses every commit, and tells what was there', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    expect(await tokens.remove(ref)).toMatchObject({ state: 'present', version: 1, payload: 'first' });
    expect(await theirs.load(ref)).toEqual({ state: 'tombstone' });
    for (const expected of [0, 1, 2]) expect(await commit(ref, expected, 'back again')).toBe('tombstone');
    expect(await commit(ref, 0, 'first')).toBe('tombstone');
    await tokens.renew(ref, 1, HOUR);
    expect(await tokens.remove(ref)).toEqual({ state: 'tombstone' });
    expect(await tokens.load(ref)).toEqual({ state: 'tombstone' });
  });

  test('also what is not there yet leaves a tombstone: its first commit may be under way', async () => {
    const ref = newRef();
    expect(await tokens.remove(ref)).toEqual({ state: 'absent' });
    expect(await commit(ref, 0, 'late')).toBe('tombstone');
  });

  test('a removal beside commits ends as a tombstone', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    await Promise.all([commit(ref, 1, 'second'), tokens.remove(ref), commit(ref, 2, 'third')]);
    expect(await tokens.load(ref)).toEqual({ state: 'tombstone' });
  });

  test('a lease belongs to one at a time; the next one reads what the one before committed', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    const first = await tokens.acquire(ref, ANY_VERSION);
    const waiting = [tokens.acquire(ref, ANY_VERSION), tokens.acquire(ref, ANY_VERSION)];
    expect(await Promise.race([...waiting, turn(tokens)])).toBe(LATE);
    expect(first.record).toMatchObject({ version: 1 });
    await commit(ref, 1, 'second');
    await first.release();
    await first.release();
    const second = await Promise.race(waiting);
    expect(second.record).toMatchObject({ version: 2, payload: 'second' });
    expect(await Promise.race([waiting[1], turn(tokens)])).toBe(LATE);
    await second.release();
    const third = await waiting[1];
    await third?.release();
    const fourth = await tokens.acquire(ref, ANY_VERSION);
    await fourth.release();
  });

  test('a lease belongs to one at a time over all processes', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    let [holders, most, turns] = [0, 0, 0];
    const contend = async (store: TokenStore) => {
      const lease = await store.acquire(ref, ANY_VERSION);
      expect(lease.isHeld).toBe(true);
      holders += 1;
      most = Math.max(most, holders);
      turns += 1;
      await turn(store);
      holders -= 1;
      await lease.release();
    };
    await Promise.all([tokens, theirs, tokens, theirs].map(contend));
    expect({ most, turns }).toEqual({ most: 1, turns: 4 });
  });

  test('who waits for a lease gets what its holder committed, and needs no lease then', async () => {
    const ref = newRef();
    await commit(ref, 0, 'first');
    const holder = await tokens.acquire(ref, 1);
    expect(holder).toMatchObject({ isHeld: true, record: { version: 1 } });
    const waiting = theirs.acquire(ref, 1);
    expect(await Promise.race([waiting, turn(theirs)])).toBe(LATE);
    await commit(ref, 1, 'second');
    await holder.release();
    const waited = await waiting;
    expect(waited).toMatchObject({ isHeld: false, record: { version: 2, payload: 'second' } });
    await waited.release();
    // Now it is new to nobody who has seen it.
    const next = await tokens.acquire(ref, 2);
    expect(next.isHeld).toBe(true);
    await next.release();
  });

  test('what is gone needs no lease', async () => {
    expect(await tokens.acquire(newRef(), 0)).toMatchObject({ isHeld: false, record: { state: 'absent' } });
  });

  // Inside one process whoever comes later waits for its turn.
  if (!name.startsWith('MemoryStore')) {
    test('what is newer or ended is told at once, whoever holds the lease', async () => {
      const [newer, ended] = [newRef(), newRef()];
      for (const ref of [newer, ended]) await commit(ref, 0, 'first');
      const held = [await tokens.acquire(newer, 1), await tokens.acquire(ended, 1)];
      await commit(newer, 1, 'second');
      await tokens.remove(ended);
      expect(await theirs.acquire(newer, 1)).toMatchObject({ isHeld: false, record: { version: 2 } });
      expect(await theirs.acquire(ended, 1)).toMatchObject({ isHeld: false, record: { state: 'tombstone' } });
      for (const lease of held) await lease.release();
    });
  }

  test('a lease holds up no other record, no reader and no removal', async () => {
    const [ref, other] = [newRef(), newRef()];
    await commit(ref, 0, 'first');
    const lease = await tokens.acquire(ref, ANY_VERSION);
    const unhindered = await tokens.acquire(other, ANY_VERSION);
    await unhindered.release();
    expect(await tokens.load(ref)).toMatchObject({ version: 1 });
    await tokens.remove(ref);
    expect(await commit(ref, 1, 'late')).toBe('tombstone');
    await lease.release();
  });

  test('a record keeps its time, and a renewal gives it a new one', async () => {
    const ref = newRef();
    const remaining = async () => {
      const record = await tokens.load(ref);
      return record.state === 'present' ? record.remainingMs / HOUR : record.state;
    };
    await commit(ref, 0, 'first', HOUR);
    expect(await remaining()).toBeCloseTo(1, 2);
    await tokens.renew(ref, 1, 2 * HOUR);
    expect(await remaining()).toBeCloseTo(2, 2);
    expect(await tokens.load(ref)).toMatchObject({ version: 1, payload: 'first' });
    await tokens.renew(ref, 2, 3 * HOUR);
    expect(await remaining()).toBeCloseTo(2, 2);
  });

  test('a renewal makes nothing out of nothing', async () => {
    const ref = newRef();
    await tokens.renew(ref, 0, HOUR);
    await tokens.renew(ref, 1, HOUR);
    expect(await tokens.load(ref)).toEqual({ state: 'absent' });
  });

  if (!isInRedis(name)) {
    test('records end with their time, a tombstone after a minute', async () => {
      const [ref, ended] = [newRef(), newRef()];
      await commit(ref, 0, 'first', HOUR);
      await tokens.remove(ended);
      travel(59);
      expect(await tokens.load(ended)).toEqual({ state: 'tombstone' });
      travel(2);
      expect(await tokens.load(ended)).toEqual({ state: 'absent' });
      expect(await tokens.load(ref)).toMatchObject({ version: 1 });
      travel(3600);
      expect(await tokens.load(ref)).toEqual({ state: 'absent' });
      expect(await commit(ref, 0, 'again')).toBe('committed');
    });

    test('a record is a session to the store: named after the hash of its ref, with a cookie that expires', async () => {
      const ref = newRef();
      await commit(ref, 0, 'first', HOUR);
      const get = promisify(opened.store.get.bind(opened.store)) as (
        id: string,
      ) => Promise<Parameters<Store['set']>[1]>;
      const record = await get(`oidc.${sha256(ref)}`);
      expect(record).toMatchObject({ cookie: { originalMaxAge: HOUR } });
      expect(Date.parse(String(record.cookie.expires)) - Date.now()).toBeGreaterThan(HOUR - 10_000);
      expect(JSON.stringify(record)).not.toContain(ref);
    });
  }
});
