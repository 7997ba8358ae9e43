import { describe, expect, test } from '@jest/globals';
import { normalizeAnswer, readAnswer } from '../../src/core/token-answer.ts';
import { fc } from '../support/properties.ts';

const YEAR = 31_536_000;
const read = (json: Record<string, unknown>) => readAnswer(normalizeAnswer({ access_token: 'at', ...json }));

describe('A8: expires_in', () => {
  test.each([
    [3600, 3600],
    ['3600', 3600],
    [' 3600 ', 3600],
    [0, 0],
    [59.5, 59.5],
    [YEAR, YEAR],
    [YEAR + 1, undefined],
    [-1, undefined],
    ['-1', undefined],
    ['', undefined],
    ['an hour', undefined],
    ['1e400', undefined],
    [Number.NaN, undefined],
    [null, undefined],
    [true, undefined],
    [[3600], undefined],
    [{}, undefined],
    [undefined, undefined],
  ])('%p → %p', (expires_in, expiresIn) => {
    expect(read({ expires_in })?.expiresIn).toBe(expiresIn);
    const normalized = normalizeAnswer({ access_token: 'at', expires_in });
    // openid-client takes a number or nothing.
    expect('expires_in' in normalized).toBe(expiresIn !== undefined);
  });
});

describe('scope', () => {
  test.each([
    ['a b', 'a b'],
    [['a', 'b'], 'a b'],
    ['', ''],
    [[], ''],
    [undefined, undefined],
    [['a', 5], undefined],
    [5, undefined],
    [null, undefined],
  ])('%p → %p', (scope, expected) => {
    expect(read({ scope })?.scope).toBe(expected);
  });
});

test('A9: an empty or odd refresh or ID token is none', () => {
  for (const odd of ['', null, 5, [], {}]) {
    const answer = read({ refresh_token: odd, id_token: odd });
    expect([answer?.refreshToken, answer?.idToken]).toEqual([undefined, undefined]);
  }
  expect(read({ refresh_token: 'rt', id_token: 'it' })).toMatchObject({ refreshToken: 'rt', idToken: 'it' });
});

test('the type of token is Bearer where the provider says nothing', () => {
  expect(read({})?.tokenType).toBe('Bearer');
  expect(read({ token_type: '' })?.tokenType).toBe('Bearer');
  expect(read({ token_type: 'DPoP' })?.tokenType).toBe('DPoP');
});

test('lifetimes of refresh tokens in the words of several providers; 0 is for ever', () => {
  expect(read({ refresh_expires_in: 1800 })?.refreshExpiresIn).toBe(1800);
  expect(read({ refresh_token_expires_in: '1800' })?.refreshExpiresIn).toBe(1800);
  expect(read({ refresh_expires_in: 0 })?.refreshExpiresIn).toBeUndefined();
  expect(read({ refresh_in: '600' })?.refreshIn).toBe(600);
  expect(read({ refresh_in: 0 })?.refreshIn).toBeUndefined();
});

test.each([undefined, null, '', 5, {}, ['at']])('an access token %p is none', (access_token) => {
  expect(read({ access_token })).toBeUndefined();
});

test('an access token that no header can carry is none (RFC 6749 A.12)', () => {
  for (const bad of ['at\r\nx-evil: 1', 'at\n', 'tok\u2713en', '\0', 'ünicode'])
    expect(read({ access_token: bad })).toBeUndefined();
  expect(read({ access_token: 'a.B-c_d~e+f/g=' })?.accessToken).toBe('a.B-c_d~e+f/g=');
});

test('whatever the JSON holds: no throw, and only the shapes of RFC 6749 section 5.1', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), fc.jsonValue(), (json, a, b) => {
      for (const name of ['access_token', 'expires_in', 'scope', 'refresh_token', 'token_type']) {
        const answer = readAnswer(normalizeAnswer({ ...json, [name]: a, expires_in: b }));
        if (answer === undefined) continue;
        const { accessToken, expiresIn = 0, scope = '', refreshToken = '', tokenType } = answer;
        expect([accessToken, scope, refreshToken, tokenType].map((text) => typeof text)).toEqual(
          Array(4).fill('string'),
        );
        expect(expiresIn >= 0 && expiresIn <= YEAR).toBe(true);
      }
    }),
  );
});
