import { scopeSet } from '../../src/core/scopes.ts';
import type { CachedToken, Refusal, TokenCache } from '../../src/core/token-cache.ts';
import { type NormalizedRequest, normalizeRequest, type TokenRequest } from '../../src/core/token-request.ts';
import { fc } from '../support/properties.ts';

/** The moment at which everything happens, in epoch seconds. */
export const NOW = 1_800_000_000;
export const R1 = 'https://r1.example';
export const R2 = 'https://r2.example';

/** Makes a change of a value that must not change throw. */
export function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(frozen);
    Object.freeze(value);
  }
  return value;
}

let count = 0;

/** An access token of an hour, just stored, for scopes written as text. */
export function token({ scopes, ...fields }: Partial<Omit<CachedToken, 'scopes'>> & { scopes: string }) {
  count += 1;
  const set = scopeSet(scopes.split(' ').filter(Boolean));
  const cachedAt = fields.cachedAt ?? NOW;
  const expiresAt = fields.expiresAt ?? cachedAt + 3600;
  return frozen<CachedToken>({
    accessToken: `at-${count}`,
    tokenType: 'Bearer',
    scopes: set,
    asked: [set.join(' ')],
    refreshAt: expiresAt - 300,
    ...fields,
    cachedAt,
    expiresAt,
  });
}

export function cache(fields: Partial<TokenCache> = {}): TokenCache {
  const account = { issuer: 'https://op.example', subject: 'alice' };
  return frozen({ account, refreshTokens: [], accessTokens: [], refusals: [], ...fields });
}

/** As `req.getToken` of an app whose login asks for `a` and for no resource. */
export function request(input: string | readonly string[] | TokenRequest = {}): NormalizedRequest {
  return frozen(normalizeRequest(input, { scopes: ['a'], target: {}, resources: {} }));
}

const scopesArbitrary = fc.subarray(['a', 'b', 'c', 'd']).map((scopes) => scopes.join(' '));

const targetArbitrary = fc.record({
  resource: fc.constantFrom(undefined, R1, R2),
  audience: fc.constantFrom(undefined, undefined, 'api'),
});

export const requestArbitrary = fc
  .tuple(scopesArbitrary, targetArbitrary)
  .map(([scopes, target]) => request({ scopes, ...target } as TokenRequest));

/** Tokens of all kinds: some expired, some granted less than was asked. */
export const tokenArbitrary = fc
  .tuple(scopesArbitrary, scopesArbitrary, targetArbitrary, fc.integer({ min: -100, max: 4000 }))
  .map(([granted, asked, target, lifetime]) =>
    token({ scopes: granted, asked: [asked], expiresAt: NOW + lifetime, cachedAt: NOW - 200, ...target }),
  );

const refusalArbitrary: fc.Arbitrary<Refusal> = fc
  .tuple(scopesArbitrary, targetArbitrary, fc.constantFrom('refused', 'asked', 'denied'))
  .map(([scopes, target, state]) => ({ ...target, scopes: scopes.split(' ').filter(Boolean), state }));

export const cacheArbitrary: fc.Arbitrary<TokenCache> = fc
  .record({
    idToken: fc.option(fc.string(), { nil: undefined }),
    refreshTokens: fc.array(
      fc.record({
        token: fc.string(),
        resources: fc.subarray([R1, R2]),
        expiresAt: fc.option(fc.integer(), { nil: undefined }),
      }),
      { maxLength: 3 },
    ),
    accessTokens: fc.array(tokenArbitrary, { maxLength: 12 }),
    refusals: fc.array(refusalArbitrary, { maxLength: 4 }),
  })
  .map(cache);
