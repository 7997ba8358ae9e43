import { describe, expect, test } from '@jest/globals';
import {
  type BearerDemands,
  bindingOf,
  isAccessTokenType,
  parseAuthorization,
  refuseClaims,
  scopesOf,
} from '../../src/core/bearer-token.ts';
import { fc } from '../support/properties.ts';

const NOW = 1_000_000;
const ISSUER = 'https://op.example';
const DEMANDS: BearerDemands = {
  issuer: ISSUER,
  audience: ['https://api.example', 'api'],
  scopes: [],
  claims: {},
  acrValues: undefined,
  maxAge: undefined,
  clockTolerance: 30,
};
const CLAIMS = { iss: ISSUER, aud: 'api', sub: 'alice', iat: NOW - 10, exp: NOW + 300 };

const refuse = (changes: Record<string, unknown>, demands: Partial<BearerDemands> = {}) =>
  refuseClaims({ ...CLAIMS, ...changes }, { ...DEMANDS, ...demands }, NOW);

describe('refuseClaims', () => {
  test.each<[string, Record<string, unknown>]>([
    ['the plainest token', {}],
    ['another of the audiences', { aud: 'https://api.example' }],
    ['one of several audiences', { aud: ['other', 'api'] }],
    ['no subject, as in an app token of some providers', { sub: undefined }],
    ['expired, inside the tolerance', { exp: NOW - 29 }],
    ['not valid yet, inside the tolerance', { nbf: NOW + 30, iat: NOW + 30 }],
    ['an sid, which access tokens have too', { sid: 's' }],
    ['a nonce, with typ Bearer', { nonce: 'n', typ: 'Bearer' }],
    ['a nonce, with typ DPoP', { nonce: 'n', typ: 'DPoP' }],
  ])('%s is taken', (_name, changes) => {
    expect(refuse(changes)).toBeUndefined();
  });

  test.each<[string, Record<string, unknown>]>([
    ['another issuer', { iss: 'https://op.example/' }],
    ['an issuer that is no text', { iss: [ISSUER] }],
    ['no issuer', { iss: undefined }],
    ['no audience', { aud: undefined }],
    ['an empty list of audiences', { aud: [] }],
    ['an audience that begins alike', { aud: 'api2' }],
    ['an audience in another case', { aud: 'API' }],
    ['an audience that is an object', { aud: { api: 'api' } }],
    ['nested audiences', { aud: [['api']] }],
    ['no expiry', { exp: undefined }],
    ['an expiry as text', { exp: String(NOW + 300) }],
    ['an expiry of null', { exp: null }],
    ['an expiry that is not a number', { exp: Number.NaN }],
    ['an expiry that never comes', { exp: Number.POSITIVE_INFINITY }],
    ['expired, at the end of the tolerance', { exp: NOW - 30 }],
    ['not valid yet', { nbf: NOW + 31 }],
    ['nbf as text', { nbf: '0' }],
    ['nbf of null', { nbf: null }],
    ['issued in the future', { iat: NOW + 31 }],
    ['iat as text', { iat: '0' }],
    ['an empty subject', { sub: '' }],
    ['a subject that is a number', { sub: 7 }],
    ['a nonce: an ID token', { nonce: 'n' }],
    ['a nonce, with typ ID', { nonce: 'n', typ: 'ID' }],
    ['at_hash, whatever typ says', { at_hash: 'h', typ: 'Bearer' }],
    ['at_hash: an ID token', { at_hash: 'h' }],
    ['c_hash: an ID token', { c_hash: 'h' }],
    ['typ ID, as one provider writes it', { typ: 'ID' }],
    ['typ Refresh', { typ: 'Refresh' }],
    ['token_use id', { token_use: 'id' }],
    ['token_type refresh_token', { token_type: 'refresh_token' }],
    ['typ Offline, a refresh token for offline_access', { typ: 'Offline' }],
    ['events: a logout token', { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }],
  ])('%s is refused', (_name, changes) => {
    expect(refuse(changes)).toMatchObject({ status: 401, error: 'invalid_token' });
  });

  test.each<[string, Record<string, unknown>, Partial<BearerDemands>, string | undefined]>([
    ['all scopes', { scope: 'a b c' }, { scopes: ['a', 'b'] }, undefined],
    ['scopes in an array', { scope: ['a', 'b'] }, { scopes: ['a', 'b'] }, undefined],
    ['scp as text', { scp: 'a b' }, { scopes: ['a'] }, undefined],
    ['one scope too few', { scope: 'a' }, { scopes: ['a', 'b'] }, 'insufficient_scope'],
    ['no scopes', {}, { scopes: ['a'] }, 'insufficient_scope'],
    ['a scope in another case', { scope: 'A' }, { scopes: ['a'] }, 'insufficient_scope'],
    ['a scope that begins alike', { scope: 'a.b' }, { scopes: ['a'] }, 'insufficient_scope'],
    ['scopes as a number', { scope: 1 }, { scopes: ['1'] }, 'insufficient_scope'],
    ['the claim', { tenant: 't' }, { claims: { tenant: 't' } }, undefined],
    ['another value of the claim', { tenant: 'u' }, { claims: { tenant: 't' } }, 'insufficient_scope'],
    ['a number for a text', { n: 1 }, { claims: { n: '1' } }, 'insufficient_scope'],
    ['a claim of the prototype', {}, { claims: { toString: 'x' } }, 'insufficient_scope'],
    ['the level', { acr: 'mfa' }, { acrValues: 'phr mfa' }, undefined],
    ['a lower level', { acr: 'pwd' }, { acrValues: 'phr mfa' }, 'insufficient_user_authentication'],
    ['no level', {}, { acrValues: 'mfa' }, 'insufficient_user_authentication'],
    ['recent enough', { auth_time: NOW - 90 }, { maxAge: 60 }, undefined],
    ['too old', { auth_time: NOW - 91 }, { maxAge: 60 }, 'insufficient_user_authentication'],
    ['no auth_time', {}, { maxAge: 60 }, 'insufficient_user_authentication'],
    ['auth_time as text', { auth_time: String(NOW) }, { maxAge: 60 }, 'insufficient_user_authentication'],
  ])('%s', (_name, changes, demands, error) => {
    expect(refuse(changes, demands)?.error).toBe(error);
  });

  test('who the token is for comes before what it allows', () => {
    expect(refuse({ aud: 'other' }, { scopes: ['a'] })?.error).toBe('invalid_token');
  });

  test('any JSON instead of a claim is refused or taken, never thrown at', () => {
    const names = [
      'iss',
      'aud',
      'exp',
      'nbf',
      'iat',
      'sub',
      'scope',
      'scp',
      'acr',
      'auth_time',
      'cnf',
      'typ',
    ];
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), fc.jsonValue()), (changes) => {
        refuse(changes, { scopes: ['a'], acrValues: 'x', maxAge: 5, claims: { sub: 'alice' } });
        bindingOf(changes);
      }),
    );
  });
});

test.each<[unknown, boolean]>([
  ['at+jwt', true],
  ['AT+JWT', true],
  ['application/at+jwt', true],
  ['JWT', true],
  [undefined, true],
  ['', true],
  ['logout+jwt', false],
  ['dpop+jwt', false],
  ['secevent+jwt', false],
  ['token-introspection+jwt', false],
  [7, false],
  [null, false],
  [['at+jwt'], false],
])('a header with typ %j may be an access token: %p', (typ, expected) => {
  expect(isAccessTokenType(typ)).toBe(expected);
});

test('scopes are sorted, without doubles and without what is no text', () => {
  expect(scopesOf({ scope: ' b  a b' })).toEqual(['a', 'b']);
  expect(scopesOf({ scp: ['b', 1, 'a', null] })).toEqual(['a', 'b']);
  expect(scopesOf({ scope: {} })).toEqual([]);
});

test.each<[unknown, string]>([
  [undefined, 'none'],
  [{ jkt: 'x' }, 'dpop'],
  [{ 'x5t#S256': 'x' }, 'other'],
  [{ jkt: 7 }, 'other'],
  [{}, 'other'],
  [null, 'other'],
  ['x', 'other'],
])('cnf %j binds: %s', (cnf, kind) => {
  expect(bindingOf({ cnf }).kind).toBe(kind);
});

describe('parseAuthorization', () => {
  test.each<[string | undefined, unknown]>([
    [undefined, undefined],
    ['', undefined],
    ['Basic abc', undefined],
    ['Bearerabc', undefined],
    ['Bearers abc', undefined],
    ['Bearer abc', { scheme: 'bearer', token: 'abc' }],
    ['bEARER   a.b-c_~+/==', { scheme: 'bearer', token: 'a.b-c_~+/==' }],
    ['DPoP abc', { scheme: 'dpop', token: 'abc' }],
    ['Bearer', 'malformed'],
    ['Bearer ', 'malformed'],
    ['Bearer a b', 'malformed'],
    ['Bearer a,b', 'malformed'],
    ['Bearer "a"', 'malformed'],
    ['Bearer a=b', 'malformed'],
    ['Bearer ==', 'malformed'],
    ['Bearer\tabc', 'malformed'],
    ['Bearer Bearer abc', 'malformed'],
    ['Bearer abc ', 'malformed'],
    ['Bearer é', 'malformed'],
    [`Bearer ${'a'.repeat(16_384)}`, { scheme: 'bearer', token: 'a'.repeat(16_384) }],
    [`Bearer ${'a'.repeat(16_385)}`, 'malformed'],
    [`Bearer ${' '.repeat(100_000)}`, 'malformed'],
  ])('%.40j', (header, expected) => {
    expect(parseAuthorization(header)).toEqual(expected);
  });

  test('never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.constantFrom('', 'Bearer ', 'DPoP '), (text, scheme) => {
        parseAuthorization(scheme + text);
      }),
    );
  });
});
