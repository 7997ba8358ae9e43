import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { SessionIndex } from '../../src/core/ports.ts';
import { allFactories, type OpenedStore } from '../support/store-factories.ts';
import { restoreTime, travel } from '../support/time.ts';
import { bind, isInRedis, newRef } from './open-binding.ts';

const HOUR = 3_600_000;

describe.each(allFactories)('SessionIndex over $name', ({ name, open }) => {
  let opened: OpenedStore;
  let index: SessionIndex;
  let theirs: SessionIndex;

  beforeAll(async () => {
    opened = await open();
    index = bind(opened).index;
    theirs = bind(opened.reopen()).index;
  });
  afterEach(restoreTime);
  afterAll(() => opened.close());

  const list = async (of: string) => (await theirs.list(of)).sort();

  test('what is added is there for every process, under its name alone, until it is removed', async () => {
    const [one, other] = [newRef(), newRef()];
    await index.add(one, 'a', 'entry a', HOUR);
    await index.add(one, 'b', 'entry b with a space', HOUR);
    await index.add(other, 'c', 'entry c', HOUR);
    expect(await list(one)).toEqual(['entry a', 'entry b with a space']);
    await theirs.remove(one, ['a', 'nobody']);
    expect(await list(one)).toEqual(['entry b with a space']);
    await index.remove(one, ['b']);
    expect([await list(one), await list(other)]).toEqual([[], ['entry c']]);
  });

  test('an id has one entry, the last one', async () => {
    const ref = newRef();
    await index.add(ref, 'a', 'first', HOUR);
    await theirs.add(ref, 'a', 'second', HOUR);
    expect(await list(ref)).toEqual(['second']);
  });

  test('several processes add at once, and nothing is lost', async () => {
    const ref = newRef();
    const ids = ['a', 'b', 'c', 'd'];
    await Promise.all(ids.map((id, n) => (n % 2 ? index : theirs).add(ref, id, id, HOUR)));
    expect(await list(ref)).toEqual(ids);
  });

  if (!isInRedis(name)) {
    test('each entry ends with its time; a short one does not end the others', async () => {
      const ref = newRef();
      await index.add(ref, 'long', 'long', 2 * HOUR);
      await index.add(ref, 'short', 'short', HOUR);
      travel(3601);
      expect(await list(ref)).toEqual(['long']);
      travel(3600);
      expect(await list(ref)).toEqual([]);
    });
  }
});
