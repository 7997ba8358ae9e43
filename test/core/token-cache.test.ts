import { describe, expect, test } from '@jest/globals';
import { includesAll } from '../../src/core/scopes.ts';
import {
  addRefreshToken,
  allGrantedScopes,
  allResources,
  type CachedToken,
  dropRefreshToken,
  evict,
  findRefreshToken,
  findTokens,
  putToken,
  rotateRefreshToken,
  sameTarget,
} from '../../src/core/token-cache.ts';
import { fc } from '../support/properties.ts';
import {
  cache,
  cacheArbitrary,
  frozen,
  NOW,
  R1,
  R2,
  request,
  requestArbitrary,
  token,
  tokenArbitrary,
} from './fixtures.ts';

const names = (tokens: readonly CachedToken[]) => tokens.map(({ accessToken }) => accessToken);
const isAlive = ({ expiresAt }: CachedToken) => expiresAt > NOW;
const covers = (token: CachedToken, old: CachedToken) =>
  sameTarget(token, old) && includesAll(token.scopes, old.scopes);

describe('putToken', () => {
  test('never loses a living token that the new one does not cover, and keeps none that it covers', () => {
    fc.assert(
      fc.property(cacheArbitrary, tokenArbitrary, (before, fresh) => {
        const after = frozen(putToken(before, fresh, NOW));
        const expected = before.accessTokens.filter((old) => isAlive(old) && !covers(fresh, old));
        expect(names(after.accessTokens)).toEqual([...names(expected), fresh.accessToken]);
      }),
    );
  });

  test('touches nothing but access tokens and the refusals that it disproves', () => {
    fc.assert(
      fc.property(cacheArbitrary, tokenArbitrary, (before, fresh) => {
        const { accessTokens: _tokens, refusals, ...rest } = putToken(before, fresh, NOW);
        expect(before).toMatchObject(rest);
        const disproved = before.refusals.filter((refusal) => !refusals.includes(refusal));
        for (const { scopes, ...target } of disproved)
          expect([sameTarget(target, fresh), includesAll(fresh.scopes, scopes)]).toEqual([true, true]);
      }),
    );
  });

  test('A7: the token answers what it was asked for, granted or not, and what those it replaced were', () => {
    fc.assert(
      fc.property(cacheArbitrary, tokenArbitrary, (before, fresh) => {
        const after = putToken(before, fresh, NOW);
        const answered = [fresh, ...before.accessTokens.filter((old) => covers(fresh, old))]
          .flatMap(({ asked }) => asked)
          .slice(0, 8);
        for (const scopes of answered) {
          const found = findTokens(after, request({ scopes, ...targetOf(fresh) }));
          expect(names(found)).toContain(fresh.accessToken);
        }
      }),
    );
  });

  test('A6: [x y] and [y z] live side by side', () => {
    const after = [token({ scopes: 'x y' }), token({ scopes: 'y z' })].reduce(
      (before, fresh) => putToken(before, fresh, NOW),
      cache(),
    );
    expect(findTokens(after, request('x y'))).toHaveLength(1);
    expect(findTokens(after, request('y z'))).toHaveLength(1);
    expect(findTokens(after, request('y'))).toHaveLength(2);
  });

  test('what a token answers does not grow without end', () => {
    let known = cache();
    for (let round = 0; round < 100; round += 1)
      known = putToken(known, token({ scopes: 'a', asked: [`a scope-${round}`] }), NOW);
    expect(known.accessTokens).toHaveLength(1);
    expect(known.accessTokens[0]!.asked).toHaveLength(8);
    expect(known.accessTokens[0]!.asked[0]).toBe('a scope-99');
  });
});

function targetOf({ resource, audience }: CachedToken) {
  return { ...(resource ? { resource } : {}), ...(audience ? { audience } : {}) };
}

describe('findTokens', () => {
  test('A28: never a token of another resource or audience, never one without the scopes; the longest-lived first', () => {
    fc.assert(
      fc.property(cacheArbitrary, requestArbitrary, (known, asked) => {
        const found = findTokens(known, asked);
        for (const hit of found) {
          expect([hit.resource, hit.audience]).toEqual([asked.resource, asked.audience]);
          const isAnswer = hit.asked.includes(asked.scopes.join(' '));
          expect(includesAll(hit.scopes, asked.scopes) || isAnswer).toBe(true);
        }
        const ends = found.map(({ expiresAt }) => expiresAt);
        expect(ends).toEqual([...ends].sort((a, b) => b - a));
      }),
    );
  });

  test('finds all that fit', () => {
    const tokens = [token({ scopes: 'a b' }), token({ scopes: 'a' }), token({ scopes: 'b' })];
    expect(names(findTokens(cache({ accessTokens: tokens }), request('a'))).sort()).toEqual(
      names(tokens.slice(0, 2)).sort(),
    );
  });

  test('A20: of those that live equally long the newest first', () => {
    const tokens = [1, 2, 3].map((n) => token({ accessToken: `t${n}`, scopes: 'a' }));
    const found = findTokens(cache({ accessTokens: tokens }), request('a'));
    expect(names(found)).toEqual(['t3', 't2', 't1']);
  });

  test('A2: order, doubles and OpenID scopes do not matter; the case of letters does', () => {
    const known = cache({ accessTokens: [token({ scopes: 'a b' })] });
    expect(findTokens(known, request('b openid a b offline_access'))).toHaveLength(1);
    expect(findTokens(known, request('A'))).toHaveLength(0);
  });
});

describe('A26: evict', () => {
  const limits = fc.record({
    maxTokens: fc.integer({ min: 0, max: 12 }),
    maxBytes: fc.integer({ min: 0, max: 400 }),
  });
  const sizeOf = ({ accessToken, scopes }: CachedToken) => accessToken.length + 10 * scopes.length;

  test('within both limits, the living and newest, refresh tokens untouched', () => {
    fc.assert(
      fc.property(cacheArbitrary, limits, (before, bounds) => {
        const { accessTokens, ...rest } = evict(before, NOW, bounds, sizeOf);
        const { accessTokens: all, ...others } = before;
        expect(rest).toEqual(others);
        const alive = all.filter(isAlive);
        expect(accessTokens).toEqual(alive.slice(alive.length - accessTokens.length));
        const bytes = (tokens: CachedToken[]) => tokens.reduce((sum, entry) => sum + sizeOf(entry), 0);
        expect(accessTokens.length).toBeLessThanOrEqual(bounds.maxTokens);
        expect(bytes([...accessTokens])).toBeLessThanOrEqual(bounds.maxBytes);
        const next = alive.slice(alive.length - accessTokens.length - 1);
        const isFull = next.length > bounds.maxTokens || bytes(next) > bounds.maxBytes;
        expect(isFull || accessTokens.length === alive.length).toBe(true);
      }),
    );
  });
});

describe('refresh tokens', () => {
  const plain = { token: 'plain', resources: [] };
  const first = { token: 'first', resources: [R1] };
  const second = { token: 'second', resources: [R2] };
  const both = { token: 'both', resources: [R1, R2] };
  const tokensOf = (...steps: { token: string; resources: string[] }[]) =>
    steps.reduce(addRefreshToken, cache()).refreshTokens.map((entry) => entry.token);

  test('a new one replaces those whose resources it was issued for too', () => {
    expect(tokensOf(plain, { ...plain, token: 'newer' })).toEqual(['newer']);
    expect(tokensOf(first, second, both)).toEqual(['both']);
    expect(tokensOf(plain, first)).toEqual(['first']);
  });

  test('and keeps the others: where a provider takes one target, there is one for each', () => {
    expect(tokensOf(first, second)).toEqual(['first', 'second']);
    expect(tokensOf(both, first)).toEqual(['both', 'first']);
    expect(tokensOf(first, plain)).toEqual(['first', 'plain']);
  });

  test('the newest; for a resource the newest that covers it; else none', () => {
    const known = cache({ refreshTokens: [both, first] });
    expect(findRefreshToken(known, {})).toBe(first);
    expect(findRefreshToken(known, { resource: R2 })).toBe(both);
    expect(findRefreshToken(cache({ refreshTokens: [first] }), { resource: R2 })).toBeUndefined();
    expect(findRefreshToken(cache(), {})).toBeUndefined();
  });

  test('A9: rotation and dropping touch exactly the one that was spent', () => {
    const known = cache({ refreshTokens: [first, second], accessTokens: [token({ scopes: 'a' })] });
    const next = { token: 'next', resources: [R1] };
    expect(rotateRefreshToken(known, 'first', next)).toEqual({ ...known, refreshTokens: [next, second] });
    expect(dropRefreshToken(known, 'first')).toEqual({ ...known, refreshTokens: [second] });
    expect(rotateRefreshToken(known, 'unknown', next)).toEqual(known);
    expect(dropRefreshToken(known, 'unknown')).toEqual(known);
  });
});

test('one refresh token that a provider gave for two targets is rotated for both', () => {
  const known = cache({
    refreshTokens: [
      { token: 'same', resources: [R1] },
      { token: 'same', resources: [R2] },
    ],
  });
  const { refreshTokens } = rotateRefreshToken(known, 'same', { token: 'next', resources: [R1] });
  expect(refreshTokens).toEqual([
    { token: 'next', resources: [R1] },
    { token: 'next', resources: [R2] },
  ]);
});

test('the next login asks for everything that was granted, and for every resource', () => {
  const known = cache({
    accessTokens: [token({ scopes: 'b a' }), token({ scopes: 'c a', resource: R1 })],
    refreshTokens: [{ token: 'rt', resources: [R2] }],
  });
  expect(allGrantedScopes(known)).toEqual(['a', 'b', 'c']);
  expect(allResources(known).sort()).toEqual([R1, R2]);
});
