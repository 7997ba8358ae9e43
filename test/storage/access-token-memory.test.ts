import { beforeEach, describe, expect, test } from '@jest/globals';
import { AccessTokenMemory } from '../../src/storage/access-token-memory.ts';

const scope = { sessionId: 'session', ref: 'ref', epoch: 1 };
const value = { accessToken: 'at' };
let now = 1000;
let memory: AccessTokenMemory<object>;

beforeEach(() => {
  now = 1000;
  memory = new AccessTokenMemory({ now: () => now });
});

test('a token is remembered until its time, and not a moment longer', () => {
  memory.put(scope, 'a', value, 1060, 100);
  now = 1059.99;
  expect(memory.get(scope, 'a')).toBe(value);
  now = 1060;
  expect(memory.get(scope, 'a')).toBeUndefined();
});

test('a clock that was set back does not prolong it', () => {
  memory.put(scope, 'a', value, 1060, 100);
  now = 400;
  expect(memory.get(scope, 'a')).toBeUndefined();
});

test('a newer one takes the older one’s place', () => {
  const newer = { accessToken: 'newer' };
  memory.put(scope, 'a', value, 1060, 100);
  memory.put(scope, 'a', newer, 1030, 100);
  expect(memory.get(scope, 'a')).toBe(newer);
  now = 1031;
  expect(memory.get(scope, 'a')).toBeUndefined();
});

describe('A28: it is found by the very session, login and request alone', () => {
  test.each([
    ['another session of the same user', { ...scope, sessionId: 'other' }, 'a'],
    ['a new session id', { ...scope, sessionId: 'session2' }, 'a'],
    ['after a step-up', { ...scope, epoch: 2 }, 'a'],
    ['after a new sign-in', { ...scope, ref: 'ref2', epoch: 1 }, 'a'],
    ['another request', scope, 'b'],
    ['parts that together read the same', { ...scope, ref: 'ref 1', sessionId: '' }, 'session a'],
  ])('%s', (_name, other, key) => {
    memory.put(scope, 'a', value, 1060, 100);
    expect(memory.get(other, key)).toBeUndefined();
    expect(memory.get({ ...scope }, 'a')).toBe(value);
  });
});

test('forgetting a login forgets all of its tokens, and nobody else’s', () => {
  const all = [scope, { ...scope, epoch: 2 }, { ...scope, sessionId: 'other' }];
  const others = [
    { ...scope, ref: 'ref2' },
    { ...scope, ref: 're' },
  ];
  for (const one of [...all, ...others]) for (const key of ['a', 'b']) memory.put(one, key, value, 1060, 100);
  memory.forget('ref');
  const count = (scopes: (typeof scope)[]) =>
    scopes.flatMap((one) => ['a', 'b'].filter((key) => memory.get(one, key))).length;
  expect(count(all)).toBe(0);
  expect(count(others)).toBe(4);
});

describe('A26: it is bounded', () => {
  const found = (count: number) =>
    Array.from({ length: count }, (_, index) => index).filter((index) => memory.get(scope, String(index)));

  test('by bytes: the least recently used go', () => {
    const MIB = 1024 * 1024;
    for (let index = 0; index < 100; index += 1) {
      memory.put(scope, String(index), value, 1060, MIB);
      memory.get(scope, '0');
    }
    const kept = found(100);
    expect(kept.length).toBeLessThanOrEqual(64);
    expect(kept.length).toBeGreaterThan(50);
    expect([kept[0], kept.at(-1)]).toEqual([0, 99]);
    expect(kept).not.toContain(1);
  });

  test('by count', () => {
    for (let index = 0; index < 50_010; index += 1) memory.put(scope, String(index), value, 1060, 1);
    expect(found(50_010)).toHaveLength(50_000);
  });

  test('one that is larger than all of it is not kept, and takes nothing else with it', () => {
    memory.put(scope, 'a', value, 1060, 100);
    memory.put(scope, 'huge', value, 1060, 1024 ** 3);
    expect([memory.get(scope, 'a'), memory.get(scope, 'huge')]).toEqual([value, undefined]);
  });
});
