import { afterEach, expect, test } from '@jest/globals';
import { MemoryStore, type Store } from 'express-session';
import type { TimedLock } from '../../src/storage/timed-lock.ts';
import { countingStore } from '../support/stores.ts';
import { callsOf, ReleasedLock, releaseAll, wait } from './timed-lock-support.ts';

afterEach(releaseAll);

/** The same store as somebody far away has it: sees at once, is told later, and is late with what it writes. */
function farFrom(store: MemoryStore, getMs: number, setMs: number): Store {
  return {
    get: (id: string, done: Parameters<Store['get']>[1]) =>
      store.get(id, (error, record) => void setTimeout(done, getMs, error, record)),
    set: (...args: Parameters<Store['set']>) => void setTimeout(() => store.set(...args), setMs),
    destroy: (...args: Parameters<Store['destroy']>) => store.destroy(...args),
  } as unknown as Store;
}

test.each([
  [20, 60],
  [30, 40],
])(
  'C47: a process with a long δ (%i and %i ms away) beside one with the least: never two holders',
  async (getMs, setMs) => {
    const store = new MemoryStore();
    const near = new ReleasedLock(callsOf(store));
    const far = new ReleasedLock(callsOf(farFrom(store, getMs, setMs)));
    for (const name of ['warm', 'warmer']) await (await far.take(name)).release();
    let holders = 0;
    let most = 0;
    const hold = async (lock: TimedLock, name: string) => {
      const held = await lock.tryTake(name);
      if (held === undefined) return;
      holders += 1;
      most = Math.max(most, holders);
      await wait(700);
      holders -= 1;
      await held.release();
    };
    // The near one comes when the far one has looked, and found it free.
    const rounds = Array.from({ length: 2 }, (_, round) => `round ${round}`);
    for (const name of rounds)
      await Promise.all([hold(far, name), wait(getMs + 4).then(() => hold(near, name))]);
    expect(most).toBe(1);
  },
);

test('one slow look does not keep anybody waiting for longer than callers have patience', async () => {
  const store = countingStore(new MemoryStore());
  const lock = new ReleasedLock(callsOf(store));
  let looks = 0;
  store.fault = {
    get: () => {
      looks += 1;
      return looks === 1 ? 950 : undefined;
    },
  };
  const startedAt = performance.now();
  await lock.take('record');
  expect(performance.now() - startedAt).toBeLessThan(6000);
});

test('a name that was written and cannot be read back is given up', async () => {
  const store = countingStore(new MemoryStore());
  const [failing, next] = [new ReleasedLock(callsOf(store)), new ReleasedLock(callsOf(store))];
  let looks = 0;
  store.fault = {
    get: () => {
      looks += 1;
      return looks === 2 ? 'fail' : undefined;
    },
  };
  await expect(failing.tryTake('record')).rejects.toMatchObject({ status: 503 });
  expect((await next.take('record')).isTakeover).toBe(false);
});
