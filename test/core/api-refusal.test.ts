import { describe, expect, test } from '@jest/globals';
import { type ApiRefusal, remedyFor } from '../../src/core/api-refusal.ts';
import type { NormalizedRequest } from '../../src/core/token-request.ts';
import { bearerParameters } from '../../src/core/www-authenticate.ts';
import { R1, request } from './fixtures.ts';

const TOKEN = 'refused';
const CLAIMS = '{"access_token":{"nbf":{"essential":true}}}';
const FIRST: NormalizedRequest = request({ scopes: 'a', resource: R1 });

const remedy = (refusal: Partial<ApiRefusal>, first = FIRST) =>
  remedyFor({ status: 401, parameters: {}, claims: undefined, ...refusal }, first, TOKEN);

describe('remedyFor', () => {
  test.each([200, 302, 400, 404, 500])('status %i says nothing about the token', (status) => {
    expect(remedy({ status, parameters: { error: 'invalid_token' }, claims: CLAIMS })).toBeUndefined();
  });

  test.each([401, 403])('%i with claims: a token with them', (status) => {
    expect(remedy({ status, claims: CLAIMS })).toEqual({
      kind: 'better',
      request: { ...FIRST, claims: CLAIMS },
    });
  });

  test('claims count before everything else that the challenge says', () => {
    const parameters = { error: 'insufficient_scope', scope: 'b' };
    expect(remedy({ parameters, claims: CLAIMS })?.request.scopes).toEqual(['a']);
  });

  test.each<[string, Record<string, string>, { acrValues: string | undefined; maxAge: number | undefined }]>([
    ['a class', { acr_values: 'mfa' }, { acrValues: 'mfa', maxAge: undefined }],
    [
      'several, with too many spaces',
      { acr_values: ' mfa  phr ' },
      { acrValues: 'mfa phr', maxAge: undefined },
    ],
    ['an age', { max_age: '60' }, { acrValues: undefined, maxAge: 60 }],
    ['an age of 0', { max_age: '0' }, { acrValues: undefined, maxAge: 0 }],
    ['an age that is none', { max_age: '-1' }, { acrValues: undefined, maxAge: undefined }],
    ['neither', {}, { acrValues: undefined, maxAge: undefined }],
  ])('RFC 9470, %s: a stronger or newer sign-in', (_name, words, stepUp) => {
    const parameters = { error: 'insufficient_user_authentication', ...words };
    expect(remedy({ parameters })).toEqual({
      kind: 'better',
      request: { ...FIRST, ...stepUp, rejected: TOKEN },
    });
  });

  test('what the caller demanded of the sign-in stays where the API says nothing', () => {
    const first = request({ scopes: 'a', acrValues: 'mfa', maxAge: 60 });
    const parameters = { error: 'insufficient_user_authentication' };
    expect(remedy({ parameters }, first)?.request).toMatchObject({ acrValues: 'mfa', maxAge: 60 });
  });

  test.each([401, 403])('%i, insufficient_scope: those scopes together with the first ones', (status) => {
    const parameters = { error: 'insufficient_scope', scope: 'c  b "' };
    const wanted = request({ scopes: 'a b c', resource: R1, rejected: TOKEN });
    expect(remedy({ status, parameters })).toEqual({ kind: 'better', request: wanted });
  });

  test('insufficient_scope of a forced token: one for those scopes may be cached', () => {
    const parameters = { error: 'insufficient_scope', scope: 'c' };
    expect(remedy({ parameters }, { ...FIRST, forceRefresh: true })?.request.forceRefresh).toBe(false);
  });

  test.each<[string, number, Record<string, string>, 'rejected' | undefined]>([
    ['invalid_token', 401, { error: 'invalid_token' }, 'rejected'],
    ['no words at all', 401, {}, 'rejected'],
    ['insufficient_scope without scopes', 401, { error: 'insufficient_scope' }, 'rejected'],
    ['insufficient_scope without scopes', 403, { error: 'insufficient_scope' }, undefined],
    ['no words at all', 403, {}, undefined],
  ])('%s, %i: another token at most', (_name, status, parameters, kind) => {
    expect(remedy({ status, parameters })?.kind).toBe(kind);
    if (kind !== undefined)
      expect(remedy({ status, parameters })?.request).toEqual({ ...FIRST, rejected: TOKEN });
  });
});

describe('bearerParameters', () => {
  test.each<[string | null, Record<string, string>]>([
    [null, {}],
    ['Basic realm="r"', {}],
    ['bearer realm="r"', { realm: 'r' }],
    ['Bearer realm="r", DPoP error="x", Bearer error="invalid_token"', { error: 'invalid_token' }],
    ['Bearer realm="r", Bearer claims="e30"', { claims: 'e30' }],
  ])('%s', (header, parameters) => {
    expect({ ...bearerParameters(header) }).toEqual(parameters);
  });
});
