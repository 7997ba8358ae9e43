import { describe, expect, test } from '@jest/globals';
import {
  findRefusal,
  putToken,
  type Refusal,
  recordRefusal,
  settleRefusals,
  type TokenCache,
} from '../../src/core/token-cache.ts';
import { cache, NOW, R1, R2, request, token } from './fixtures.ts';

const login = { asked: ['a', 'c'], resources: [], target: {}, granted: ['a', 'c'], isNewStart: false };

/** What can happen to the refusal of `c`, in the order of a user's way. */
const events: Record<string, (known: TokenCache) => TokenCache> = {
  'the endpoint refuses': (known) => recordRefusal(known, request('c')),
  'a login asks and is granted': (known) => settleRefusals(known, login),
  'a login asks and is not granted': (known) => settleRefusals(known, { ...login, granted: ['a'] }),
  'a login asks for others': (known) => settleRefusals(known, { ...login, asked: ['a'], granted: ['a'] }),
  'a token holds it': (known) => putToken(known, token({ scopes: 'c' }), NOW),
};

describe('A17: the refusal of a scope', () => {
  const inState = (state: Refusal['state'] | 'none') =>
    cache({ refusals: state === 'none' ? [] : [{ scopes: ['c'], state }] });
  const table = [
    ['none', 'the endpoint refuses', 'refused'],
    ['none', 'a login asks and is not granted', 'none'],
    ['refused', 'the endpoint refuses', 'refused'],
    ['refused', 'a login asks and is granted', 'asked'],
    ['refused', 'a login asks and is not granted', 'denied'],
    ['refused', 'a login asks for others', 'refused'],
    ['refused', 'a token holds it', 'none'],
    ['asked', 'the endpoint refuses', 'denied'],
    ['asked', 'a login asks and is granted', 'asked'],
    ['asked', 'a login asks and is not granted', 'denied'],
    ['asked', 'a token holds it', 'none'],
    ['denied', 'the endpoint refuses', 'denied'],
    ['denied', 'a login asks and is granted', 'denied'],
    ['denied', 'a login asks for others', 'denied'],
    ['denied', 'a token holds it', 'none'],
  ] as const;
  test.each(table)('%s, %s → %s', (state, event, expected) => {
    const { refusals } = events[event]!(inState(state));
    expect(refusals.map((refusal) => refusal.state)).toEqual(expected === 'none' ? [] : [expected]);
    expect(refusals.every(({ scopes }) => scopes.join() === 'c')).toBe(true);
  });
});

test('what is remembered are the scopes that no token holds yet', () => {
  const known = cache({ accessTokens: [token({ scopes: 'a b' })] });
  expect(recordRefusal(known, request('a c'))).toMatchObject({ refusals: [{ scopes: ['c'] }] });
  expect(recordRefusal(known, request('a b'))).toMatchObject({ refusals: [{ scopes: ['a', 'b'] }] });
});

test('a refusal of nothing in particular would stand in the way of everything, so it is none', () => {
  expect(recordRefusal(cache(), request(''))).toEqual(cache());
  expect(recordRefusal(cache(), request({ scopes: '', resource: R1 })).refusals).toHaveLength(1);
});

test('a refusal counts for its own target, and for requests that hold all of its scopes', () => {
  const known = recordRefusal(cache(), request({ scopes: 'b c', resource: R1 }));
  const finds = (scopes: string, resource?: string) =>
    findRefusal(known, request(resource ? { scopes, resource } : scopes)) !== undefined;
  expect(finds('b c', R1)).toBe(true);
  expect(finds('a b c', R1)).toBe(true);
  expect(finds('c', R1)).toBe(false);
  expect(finds('b c')).toBe(false);
  expect(finds('b c', R2)).toBe(false);
});

test('a login settles what it asked for: the resource too', () => {
  const known = recordRefusal(cache(), request({ scopes: 'c', resource: R1 }));
  const settled = (changes: Partial<typeof login> | { resources: string[]; target: object }) =>
    settleRefusals(known, { ...login, ...changes }).refusals[0]?.state;
  expect(settled({})).toBe('refused');
  expect(settled({ resources: [R1], target: {}, granted: ['a'] })).toBe('asked');
  expect(settled({ resources: [R1], target: { resource: R1 }, granted: ['a'] })).toBe('denied');
});

test.each([
  ['refused', ['a', 'c'], ['a'], 'denied'],
  ['refused', ['a', 'c'], ['a', 'c'], 'asked'],
  ['refused', ['a'], ['a'], undefined],
  ['asked', ['a', 'c'], ['a'], 'denied'],
  ['asked', ['a'], ['a'], undefined],
  ['denied', ['a', 'c'], ['a'], undefined],
] as const)(
  '%s: a login of its own that asks for %j and gets %j leaves %s',
  (state, asked, granted, left) => {
    const known = cache({ refusals: [{ scopes: ['c'], state }] });
    const settled = settleRefusals(known, { ...login, asked, granted, isNewStart: true });
    expect(settled.refusals[0]?.state).toBe(left);
  },
);

test('a denied one is found before a refused one, and an asked one is in nobody’s way', () => {
  const refusals: Refusal[] = [
    { scopes: ['a'], state: 'asked' },
    { scopes: ['b'], state: 'refused' },
    { scopes: ['c'], state: 'denied' },
  ];
  const found = (scopes: string) => findRefusal(cache({ refusals }), request(scopes))?.state;
  expect(['a', 'a b', 'a b c'].map(found)).toEqual([undefined, 'refused', 'denied']);
});

test('there is an end to what is remembered', () => {
  let known = cache();
  for (let round = 0; round < 100; round += 1) known = recordRefusal(known, request(`scope-${round}`));
  expect(known.refusals).toHaveLength(32);
  expect(known.refusals.at(-1)?.scopes).toEqual(['scope-99']);
});
