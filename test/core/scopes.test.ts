import { describe, expect, test } from '@jest/globals';
import { grantedScopes, parseScopes, without, withoutOpenIdScopes } from '../../src/core/scopes.ts';

describe('parseScopes', () => {
  test.each([
    ['b a', ['a', 'b']],
    ['  a   b  ', ['a', 'b']],
    [
      ['b', 'a'],
      ['a', 'b'],
    ],
    [
      ['b c', 'a'],
      ['a', 'b', 'c'],
    ],
    ['a a', ['a']],
    ['A a', ['A', 'a']],
    ['', []],
    [[], []],
    ['https://graph.example/.default api://x/y!#$%', ['api://x/y!#$%', 'https://graph.example/.default']],
  ])('%j → %j', (input, expected) => {
    expect(parseScopes(input)).toEqual(expected);
  });

  test.each([undefined, null, 5, true, {}, [5], ['a', null], [['a']]])('%j is refused', (input) => {
    expect(() => parseScopes(input)).toThrow(
      new TypeError('scopes must be a string separated by spaces or an array of strings'),
    );
  });

  test.each(['a"b', 'a\\b', 'a\tb', 'a\nb', 'a\u0000', 'ä', 'a\u00a0b', '\u007f'])(
    '%j is no scope (RFC 6749 section 3.3)',
    (input) => {
      expect(() => parseScopes(input, 'resources.mail.scopes')).toThrow(TypeError);
      expect(() => parseScopes(input, 'resources.mail.scopes')).toThrow(
        /^resources\.mail\.scopes holds ".*RFC 6749/,
      );
    },
  );
});

test('OpenID scopes never count, whatever their case says otherwise', () => {
  expect(withoutOpenIdScopes(['OpenID', 'a', 'email', 'offline_access', 'openid', 'profile'])).toEqual([
    'OpenID',
    'a',
  ]);
});

test('what was granted: what the answer says, else what was asked', () => {
  expect(grantedScopes('b a  b', ['x'])).toEqual(['a', 'b']);
  expect(grantedScopes('b\ta', ['x'])).toEqual(['a', 'b']);
  expect(grantedScopes(undefined, ['x'])).toEqual(['x']);
  // What is no scope would make the next authorization request invalid.
  expect(grantedScopes('a "b" c\\d \u00e9', ['x'])).toEqual(['a']);
});

test('what was granted, separated by commas', () => {
  expect(grantedScopes('email,openid,profile', ['openid'])).toEqual(['email', 'openid', 'profile']);
  expect(grantedScopes('b,, a,', ['x'])).toEqual(['a', 'b']);
  expect(grantedScopes('a,b c,d', ['a,b'])).toEqual(['a,b', 'c', 'd']);
});

test('what is missing', () => {
  expect(without(['a', 'b', 'c'], ['b'])).toEqual(['a', 'c']);
});
