import { describe, expect, test } from '@jest/globals';
import { decodeCache, encodeCache } from '../../src/core/cache-codec.ts';
import { fc } from '../support/properties.ts';
import { cache, cacheArbitrary, R1, token } from './fixtures.ts';

test('what goes in comes out', () => {
  fc.assert(
    fc.property(cacheArbitrary, (known) => {
      expect(decodeCache(encodeCache(known))).toEqual(known);
    }),
  );
});

describe('A27: anything else is no cache, and no error', () => {
  test('arbitrary text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => expect(decodeCache(text)).toBeUndefined()),
    );
  });

  test('arbitrary JSON', () => {
    fc.assert(fc.property(fc.json(), (text) => expect(decodeCache(text)).toBeUndefined()));
  });

  test('a truncated text', () => {
    fc.assert(
      fc.property(cacheArbitrary, fc.nat(), (known, cut) => {
        const text = encodeCache(known);
        expect(decodeCache(text.slice(0, cut % text.length))).toBeUndefined();
      }),
    );
  });

  test('a text with one character changed is no cache, or a sound one', () => {
    const isSound = (text: string) => {
      const known = decodeCache(text);
      return known === undefined || decodeCache(encodeCache(known)) !== undefined;
    };
    fc.assert(
      fc.property(cacheArbitrary, fc.nat(), fc.string({ unit: 'binary', maxLength: 2 }), (known, at, put) => {
        const text = encodeCache(known);
        const index = at % text.length;
        expect(isSound(text.slice(0, index) + put + text.slice(index + 1))).toBe(true);
      }),
    );
  });

  test('a deep text', () => {
    expect(decodeCache('['.repeat(200_000))).toBeUndefined();
    expect(decodeCache(`${'{"v":'.repeat(100_000)}1${'}'.repeat(100_000)}`)).toBeUndefined();
  });

  test.each([0, 2, '1', null])('version %p', (v) => {
    const known = JSON.parse(encodeCache(cache()));
    expect(decodeCache(JSON.stringify({ ...known, v }))).toBeUndefined();
  });
});

describe('A27: one wrong field spoils the whole cache', () => {
  const known = cache({
    idToken: 'id',
    accessTokens: [token({ scopes: 'a', resource: R1, audience: 'api' })],
    refreshTokens: [{ token: 'rt', resources: [R1], expiresAt: 5 }],
    refusals: [{ scopes: ['c'], state: 'refused', resource: R1 }],
  });
  const paths = [
    ['account'],
    ['account', 'issuer'],
    ['account', 'subject'],
    ['idToken'],
    ['accessTokens'],
    ['accessTokens', '0'],
    ...Object.keys(known.accessTokens[0]!).map((name) => ['accessTokens', '0', name]),
    ['accessTokens', '0', 'scopes', '0'],
    ['accessTokens', '0', 'asked', '0'],
    ['refreshTokens'],
    ['refreshTokens', '0'],
    ...Object.keys(known.refreshTokens[0]!).map((name) => ['refreshTokens', '0', name]),
    ['refreshTokens', '0', 'resources', '0'],
    ['refusals'],
    ['refusals', '0'],
    ['refusals', '0', 'scopes'],
    ['refusals', '0', 'scopes', '0'],
    ['refusals', '0', 'state'],
    ['refusals', '0', 'resource'],
  ];
  test.each(paths.map((path) => [path.join('.'), path] as const))('%s', (_name, path) => {
    for (const wrong of [true, null, { wrong: true }]) {
      const damaged = JSON.parse(encodeCache(known));
      const parent = path.slice(0, -1).reduce((value, name) => value[name], damaged);
      parent[path.at(-1)!] = wrong;
      expect(decodeCache(JSON.stringify(damaged))).toBeUndefined();
    }
  });
});
