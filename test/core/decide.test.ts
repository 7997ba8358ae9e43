import { describe, expect, test } from '@jest/globals';
import { decide, hardExpiry, softExpiry } from '../../src/core/decide.ts';
import type { Refusal } from '../../src/core/token-cache.ts';
import { fc } from '../support/properties.ts';
import { cache, NOW, R1, R2, request, token } from './fixtures.ts';

const refreshToken = { token: 'rt', resources: [] };

function decideAt(now: number, ...scopes: Parameters<typeof token>) {
  const accessToken = token(...scopes);
  const decision = decide(
    cache({ accessTokens: [accessToken], refreshTokens: [refreshToken] }),
    request('a'),
    now,
  );
  return decision.kind === 'hit' ? `hit${decision.refreshWith ? ' and refresh' : ''}` : decision.kind;
}

describe('A3: the hard leeway is the smaller of 60 s and 10 % of the lifetime', () => {
  test.each([
    { lifetime: 3600, leeway: 60 },
    { lifetime: 601, leeway: 60 },
    { lifetime: 600, leeway: 60 },
    { lifetime: 100, leeway: 10 },
    { lifetime: 60, leeway: 6 },
  ])('lifetime $lifetime s: leeway $leeway s', ({ lifetime, leeway }) => {
    const lived = { scopes: 'a', expiresAt: NOW + lifetime, refreshAt: NOW + lifetime };
    const edge = NOW + lifetime - leeway;
    expect(hardExpiry(token(lived))).toBeCloseTo(edge, 6);
    expect(decideAt(edge - 0.01, lived)).toBe('hit');
    expect(decideAt(edge + 0.01, lived)).toBe('refresh');
  });

  test('the edge itself is too late', () => {
    expect(decideAt(NOW + 3540, { scopes: 'a' })).toBe('refresh');
  });
});

describe('the soft leeway is the smaller of 300 s and 25 % of the lifetime, ±20 %', () => {
  test.each([
    { lifetime: 3600, random: 0.5, leeway: 300 },
    { lifetime: 3600, random: 0, leeway: 240 },
    { lifetime: 3600, random: 1, leeway: 360 },
    { lifetime: 1200, random: 0.5, leeway: 300 },
    { lifetime: 400, random: 0.5, leeway: 100 },
    { lifetime: 400, random: 0, leeway: 80 },
    { lifetime: 400, random: 1, leeway: 120 },
  ])('lifetime $lifetime s, random $random: $leeway s before the end', ({ lifetime, random, leeway }) => {
    expect(softExpiry(NOW, lifetime, random)).toBeCloseTo(NOW + lifetime - leeway, 6);
  });

  test('refresh_in of the provider wins; one beyond the lifetime is none', () => {
    expect(softExpiry(NOW, 3600, 0.5, 1800)).toBe(NOW + 1800);
    expect(softExpiry(NOW, 3600, 0.5, 3600)).toBe(NOW + 3300);
  });

  test('a token is always served for a while first, and renewed in the background before it must be', () => {
    const seconds = fc.double({ min: 1, max: 31_536_000, noNaN: true });
    fc.assert(
      fc.property(seconds, fc.double({ min: 0, max: 1, noNaN: true }), (lifetime, random) => {
        const soft = softExpiry(NOW, lifetime, random);
        expect(soft).toBeGreaterThan(NOW);
        expect(soft).toBeLessThan(hardExpiry(token({ scopes: 'a', expiresAt: NOW + lifetime })));
      }),
    );
  });

  test('below it: the token; from it on: the token and a refresh', () => {
    expect(decideAt(NOW + 3299.9, { scopes: 'a' })).toBe('hit');
    expect(decideAt(NOW + 3300, { scopes: 'a' })).toBe('hit and refresh');
    expect(decideAt(NOW + 3539.9, { scopes: 'a' })).toBe('hit and refresh');
  });

  test('without a refresh token that lives there is nothing to refresh with', () => {
    const accessTokens = [token({ scopes: 'a', refreshAt: NOW })];
    const soon = (refreshTokens: { token: string; resources: string[]; expiresAt?: number }[]) =>
      decide(cache({ accessTokens, refreshTokens }), request('a'), NOW);
    expect(soon([refreshToken])).toMatchObject({ kind: 'hit', refreshWith: refreshToken });
    expect(soon([])).toMatchObject({ kind: 'hit', refreshWith: undefined });
    expect(soon([{ ...refreshToken, expiresAt: NOW }])).toMatchObject({
      kind: 'hit',
      refreshWith: undefined,
    });
  });
});

test('a token from the future: the clock was set back, so it is refreshed; 30 s are a difference of clocks', () => {
  const from = (cachedAt: number) => ({ scopes: 'a', cachedAt, expiresAt: NOW + 7200 });
  expect(decideAt(NOW, from(NOW + 30))).toBe('hit');
  expect(decideAt(NOW, from(NOW + 31))).toBe('refresh');
});

test('of several tokens the one that lives longest is served', () => {
  const [short, long] = [token({ scopes: 'a b' }), token({ scopes: 'a c', expiresAt: NOW + 4000 })];
  for (const accessTokens of [
    [short, long],
    [long, short],
  ])
    expect(decide(cache({ accessTokens }), request('a'), NOW)).toMatchObject({ kind: 'hit', token: long });
});

describe('the request', () => {
  const good = token({ scopes: 'a' });
  const better = token({ scopes: 'a b', expiresAt: NOW + 4000 });
  const late = token({ scopes: 'a', cachedAt: NOW - 3599, expiresAt: NOW + 1 });
  const gone = token({ scopes: 'a', cachedAt: NOW - 3600, expiresAt: NOW });
  const { accessToken: rejected } = good;
  test.each([
    ['forceRefresh', [good], { forceRefresh: true }, { kind: 'refresh', reason: 'forced', fallback: good }],
    ['claims', [good], { claims: '{}' }, { kind: 'refresh', reason: 'claims', fallback: undefined }],
    ['claims and forceRefresh', [good], { claims: '{}', forceRefresh: true }, { reason: 'claims' }],
    ['the one rejected', [good], { rejected }, { kind: 'refresh', reason: 'forced', fallback: undefined }],
    ['an older one rejected', [good], { rejected: 'at-old' }, { kind: 'hit', token: good }],
    ['one rejected of two', [good, better], { rejected }, { kind: 'hit', token: better }],
    ['the newer one of two', [better, good], { rejected }, { kind: 'refresh', fallback: better }],
    ['one that lacks a scope', [better, good], { rejected, scopes: 'a b' }, { kind: 'hit', token: better }],
    ['about to expire', [late], {}, { kind: 'refresh', reason: 'expired', fallback: late }],
    ['expired', [gone], {}, { kind: 'refresh', reason: 'expired', fallback: undefined }],
    ['nothing cached', [], {}, { kind: 'refresh', reason: 'no_cached_token', fallback: undefined }],
    ['other scopes', [good], { scopes: 'c' }, { kind: 'refresh', reason: 'no_cached_token' }],
  ])('%s', (_name, accessTokens, input, expected) => {
    const known = cache({ accessTokens, refreshTokens: [refreshToken] });
    expect(decide(known, request({ scopes: 'a', ...input }), NOW)).toMatchObject(expected);
  });
});

describe('interaction', () => {
  test.each([
    ['no cache', undefined, 'no_token_cache'],
    ['no refresh token', cache(), 'no_refresh_token'],
    [
      'an expired one',
      cache({ refreshTokens: [{ ...refreshToken, expiresAt: NOW }] }),
      'refresh_token_expired',
    ],
  ])('%s', (_name, known, reason) => {
    expect(decide(known, request('a'), NOW)).toEqual({ kind: 'interaction', reason });
  });

  test('a refresh token lives until the second it expires', () => {
    const known = cache({ refreshTokens: [{ ...refreshToken, expiresAt: NOW + 0.5 }] });
    expect(decide(known, request('a'), NOW).kind).toBe('refresh');
  });
});

describe('A5: resources', () => {
  const forR1 = { token: 'rt-1', resources: [R1] };
  const forBoth = { token: 'rt-2', resources: [R1, R2] };
  const refreshed = (refreshTokens: (typeof forR1)[], resource?: string) => {
    const asked = request(resource === undefined ? 'a' : { scopes: 'a', resource });
    const decision = decide(cache({ refreshTokens }), asked, NOW);
    return decision.kind === 'refresh' ? decision.refreshToken.token : decision;
  };

  test('the newest refresh token that was issued for the resource', () => {
    expect(refreshed([forBoth, forR1], R1)).toBe('rt-1');
    expect(refreshed([forBoth, forR1], R2)).toBe('rt-2');
    expect(refreshed([forBoth, forR1])).toBe('rt-1');
  });

  test('none was: a refusal that may cost the refresh token is not risked', () => {
    expect(refreshed([forR1], R2)).toEqual({ kind: 'interaction', reason: 'no_refresh_token' });
  });

  test('a token of another resource or audience is no answer', () => {
    const accessTokens = [
      token({ scopes: 'a', resource: R1 }),
      token({ scopes: 'a', audience: 'api' }),
      token({ scopes: 'a', resource: R1, audience: 'api' }),
    ];
    const found = (target: { resource?: string; audience?: string }) => {
      const decision = decide(cache({ accessTokens }), request({ scopes: 'a', ...target }), NOW);
      return decision.kind === 'hit' ? accessTokens.indexOf(decision.token) : decision.kind;
    };
    expect(found({ resource: R1 })).toBe(0);
    expect(found({ audience: 'api' })).toBe(1);
    expect(found({ resource: R1, audience: 'api' })).toBe(2);
    expect(found({})).toBe('interaction');
    expect(found({ resource: R2 })).toBe('interaction');
  });
});

describe('A17: refused scopes', () => {
  const decideWith = (state: Refusal['state'], scopes: string) => {
    const refusals = [{ scopes: ['c'], state }];
    const accessTokens = [token({ scopes: 'a' })];
    return decide(cache({ accessTokens, refusals, refreshTokens: [refreshToken] }), request(scopes), NOW);
  };

  test('refused: ask the user; asked: try again; denied: nobody can help', () => {
    expect(decideWith('refused', 'c')).toEqual({ kind: 'interaction', reason: 'scope_refused' });
    expect(decideWith('asked', 'c')).toMatchObject({ kind: 'refresh' });
    expect(decideWith('denied', 'c')).toEqual({ kind: 'not_granted', scopes: ['c'] });
    expect(decideWith('denied', 'b c')).toEqual({ kind: 'not_granted', scopes: ['c'] });
  });

  test('they stand in the way of nothing else', () => {
    expect(decideWith('denied', 'a')).toMatchObject({ kind: 'hit' });
    expect(decideWith('denied', 'b')).toMatchObject({ kind: 'refresh' });
    expect(decideWith('refused', 'b')).toMatchObject({ kind: 'refresh' });
  });
});
