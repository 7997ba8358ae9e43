import { expect, test } from '@jest/globals';
import { endsSession, readLogoutClaims } from '../../src/core/logout-token.ts';

const NOW = 1_800_000_000;
const expected = { issuer: 'https://op.example', clientId: 'web', now: NOW, clockTolerance: 30 };
const EVENT = 'http://schemas.openid.net/event/backchannel-logout';
const right = {
  iss: 'https://op.example',
  aud: 'web',
  iat: NOW - 5,
  exp: NOW + 100,
  jti: 'id-1',
  sub: 'alice',
  events: { [EVENT]: {} },
};
const read = (claims: object) => readLogoutClaims({ ...right, ...claims }, expected);

test('an account, a session at the provider, or both', () => {
  const demand = { jti: 'id-1', expiresAt: NOW + 100 };
  expect(read({})).toEqual({ ...demand, sub: 'alice', sid: undefined });
  expect(read({ sid: 's1' })).toEqual({ ...demand, sub: 'alice', sid: 's1' });
  expect(read({ sid: 's1', sub: undefined })).toEqual({ ...demand, sub: undefined, sid: 's1' });
});

test.each<[string, object]>([
  ['several audiences', { aud: ['other', 'web'] }],
  ['an event with a value', { events: { [EVENT]: { reason: 'x' }, other: 1 } }],
  ['no expiry, and new', { exp: undefined, iat: NOW - 100 }],
  ['the provider’s clock ahead', { iat: NOW + 20, exp: NOW + 120 }],
  ['just over, inside the tolerance', { exp: NOW - 29 }],
])('accepts: %s', (_name, claims) => {
  expect(read(claims)).toMatchObject({ jti: 'id-1' });
});

test.each<[string, object]>([
  ['another issuer', { iss: 'https://evil.example' }],
  ['no issuer', { iss: undefined }],
  ['another audience', { aud: 'other' }],
  ['no audience', { aud: undefined }],
  ['no time', { iat: undefined }],
  ['a time that is text', { iat: String(NOW) }],
  ['issued in the future', { iat: NOW + 31 }],
  ['expired', { exp: NOW - 30 }],
  ['an expiry that is text', { exp: String(NOW + 100) }],
  ['an expiry that is no number', { exp: Number.NaN }],
  ['good for years', { exp: NOW + 400 * 86_400 }],
  ['an expiry beyond all numbers', { exp: Number.POSITIVE_INFINITY }],
  ['no expiry, and old', { exp: undefined, iat: NOW - 200 }],
  ['no events', { events: undefined }],
  ['another event', { events: { 'https://op.example/other': {} } }],
  ['an event that is no object', { events: { [EVENT]: true } }],
  ['events as a list', { events: [EVENT] }],
  ['a nonce', { nonce: 'n' }],
  ['a nonce that is null', { nonce: null }],
  ['no id', { jti: undefined }],
  ['an empty id', { jti: '' }],
  ['nobody', { sub: undefined }],
  ['somebody who is no text', { sub: 7, sid: 8 }],
])('refuses: %s', (_name, claims) => {
  expect(read(claims)).toEqual(expect.any(String));
});

test.each([
  [undefined, undefined, true],
  [undefined, 's1', true],
  ['s2', undefined, true],
  ['s2', 's1', false],
])('a token with sid %p beside its sub ends a session with sid %p: %p', (sid, ofSession, ends) => {
  expect(endsSession({ sid }, ofSession)).toBe(ends);
});
