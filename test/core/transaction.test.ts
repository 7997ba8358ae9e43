import { describe, expect, test } from '@jest/globals';
import {
  addPending,
  countLoop,
  decodeTransaction,
  encodeTransaction,
  type LoopCount,
  loopOf,
  newState,
  restartsOf,
  type Transaction,
} from '../../src/core/transaction.ts';
import { NOW, R1 } from './fixtures.ts';

const transaction: Transaction = {
  kind: 'challenge',
  nonce: 'nonce',
  verifier: 'verifier',
  browser: 'browser',
  returnTo: '/orders?page=2',
  scopes: ['a', 'openid'],
  resources: [R1],
  target: { resource: R1 },
  maxAge: 60,
  loopKey: 'loop',
  createdAt: NOW,
};

test('a transaction lives 15 minutes', () => {
  const text = encodeTransaction(transaction);
  expect(decodeTransaction(text, NOW)).toEqual(transaction);
  expect(decodeTransaction(text, NOW + 900)).toEqual(transaction);
  expect(decodeTransaction(text, NOW + 901)).toBeUndefined();
});

test('one of another version, or of none, is none', () => {
  const known = JSON.parse(encodeTransaction(transaction));
  for (const other of [
    { ...known, v: 2 },
    { ...known, v: undefined },
    { ...known, createdAt: 'x' },
    [],
    null,
    5,
  ])
    expect(decodeTransaction(JSON.stringify(other), NOW)).toBeUndefined();
});

test('a restarted login says so in its state, and how often', () => {
  for (const restarts of [0, 1, 3]) expect(restartsOf(newState('ran-dom_r', restarts))).toBe(restarts);
  expect(restartsOf('')).toBe(0);
});

describe('B31: pending logins', () => {
  test('ten; an eleventh drops the oldest', () => {
    let states: string[] = [];
    const dropped: string[][] = [];
    for (let index = 1; index <= 12; index += 1) {
      const added = addPending(states, `s${index}`);
      states = added.states;
      dropped.push(added.dropped);
    }
    expect(states).toEqual(['s3', 's4', 's5', 's6', 's7', 's8', 's9', 's10', 's11', 's12']);
    expect(dropped.slice(0, 10).flat()).toEqual([]);
    expect(dropped.slice(10)).toEqual([['s1'], ['s2']]);
  });

  test('the same state twice is one', () => {
    expect(addPending(['s1', 's2'], 's1')).toEqual({ states: ['s2', 's1'], dropped: [] });
  });
});

describe('loops', () => {
  const afterLogins = (logins: number, key = 'k', at = NOW) => {
    let counts: LoopCount[] = [];
    for (let login = 0; login < logins; login += 1) counts = countLoop(counts, key, at);
    return counts;
  };

  test('three challenges that each led to a login are one; two are not, nor are others', () => {
    expect(loopOf([], 'k', NOW, undefined)).toBe(undefined);
    expect(loopOf(afterLogins(2), 'k', NOW, undefined)).toBe(undefined);
    expect(loopOf(afterLogins(3), 'k', NOW, undefined)).toBe('loop');
    expect(loopOf(afterLogins(3), 'other', NOW, undefined)).toBe(undefined);
  });

  test('what is long ago does not count', () => {
    expect(loopOf(afterLogins(3), 'k', NOW + 30, undefined)).toBe('loop');
    expect(loopOf(afterLogins(3), 'k', NOW + 31, undefined)).toBe(undefined);
    expect(loopOf(countLoop(afterLogins(2), 'k', NOW + 31), 'k', NOW + 31, undefined)).toBe(undefined);
    expect(countLoop(afterLogins(2), 'other', NOW + 31)).toEqual([{ key: 'other', count: 1, at: NOW + 31 }]);
  });

  test.each<
    [string, { isUndelivered: boolean; at: number }, 'delivered' | 'missing' | undefined, string | undefined]
  >([
    ['a level that did not come', { isUndelivered: true, at: NOW }, 'missing', 'undelivered'],
    ['one that is there and does not help', { isUndelivered: false, at: NOW }, 'delivered', 'undelivered'],
    ['one that came and is gone again', { isUndelivered: false, at: NOW }, 'missing', undefined],
    ['one that did not come long ago', { isUndelivered: true, at: NOW - 31 }, 'missing', undefined],
    ['no level asked for', { isUndelivered: true, at: NOW }, undefined, undefined],
  ])('after one login, %s', (_name, { isUndelivered, at }, stepUp, expected) => {
    expect(loopOf(countLoop([], 'k', at, isUndelivered), 'k', NOW, stepUp)).toBe(expected);
  });

  test('other keys in between do not reset the count, and there is an end to what is counted', () => {
    const between = countLoop(countLoop(afterLogins(2), 'other', NOW), 'k', NOW);
    expect(loopOf(between, 'k', NOW, undefined)).toBe('loop');
    let counts: LoopCount[] = [];
    for (let key = 0; key < 50; key += 1) counts = countLoop(counts, `k${key}`, NOW);
    expect(counts).toHaveLength(10);
    expect(counts.at(-1)?.key).toBe('k49');
  });
});
