import { describe, expect, test } from '@jest/globals';
import {
  accountOf,
  claimHolds,
  claimIs,
  claimsForSession,
  type IdTokenClaims,
  satisfiesStepUp,
} from '../../src/core/claims.ts';
import { fc } from '../support/properties.ts';
import { NOW } from './fixtures.ts';

const needed: IdTokenClaims = {
  iss: 'https://op.example',
  sub: 'alice',
  aud: 'web-app',
  exp: NOW + 300,
  iat: NOW,
  auth_time: NOW,
  acr: 'mfa',
  amr: ['pwd'],
  sid: 'sid',
  name: 'Alice',
  email: 'alice@example.com',
  preferred_username: 'alice',
};
const bytes = (value: unknown) => Buffer.byteLength(JSON.stringify(value));

describe('claims in the session', () => {
  test('all of them up to 4 KiB', () => {
    const groups = 'g'.repeat(4096 - bytes({ ...needed, groups: '' }));
    const fits = { ...needed, groups };
    expect(bytes(fits)).toBe(4096);
    expect(claimsForSession(fits)).toEqual({ claims: fits, dropped: [] });
    const { claims, dropped } = claimsForSession({ ...needed, groups: `${groups}g` });
    expect(claims).toEqual(needed);
    expect(dropped).toEqual(['groups']);
  });

  test('above, the needed ones stay and the small ones go first', () => {
    const claims = { groups: 'g'.repeat(5000), roles: 'r'.repeat(1000), tenant: 't', ...needed };
    expect(claimsForSession(claims)).toEqual({
      claims: { roles: claims.roles, tenant: 't', ...needed },
      dropped: ['groups'],
    });
  });

  test('whatever there is: at most 4 KiB, nothing changed, nothing invented, needed ones before others', () => {
    const others = fc.dictionary(fc.string({ minLength: 1 }), fc.jsonValue(), { maxKeys: 20 });
    const large = fc.array(fc.tuple(fc.constantFrom('x', 'é', '拒', '😀', '"', '\ud800'), fc.nat(800)), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(others, large, (some, repeated) => {
        const texts = repeated.map(([character, count]) => character.repeat(count));
        const all: IdTokenClaims = { ...some, ...Object.fromEntries(texts.entries()), ...needed };
        const { claims, dropped } = claimsForSession(all);
        expect(bytes(claims)).toBeLessThanOrEqual(4096);
        expect(claims).toMatchObject(needed);
        expect(
          Object.keys({ ...claims, ...Object.fromEntries(dropped.map((name) => [name, 0])) }).sort(),
        ).toEqual(Object.keys(all).sort());
        for (const [name, value] of Object.entries(claims)) expect(value).toBe(all[name]);
      }),
    );
  });

  test('a needed one goes before any number of smaller ones', () => {
    const small = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`c${index}`, index]));
    const { claims, dropped } = claimsForSession({ ...small, ...needed, name: 'n'.repeat(2000) });
    expect(claims.name).toHaveLength(2000);
    expect(dropped.every((name) => name in small)).toBe(true);
  });

  test('one nested more deeply than can be written is left out', () => {
    const deep: unknown = JSON.parse('['.repeat(50_000) + ']'.repeat(50_000));
    expect(claimsForSession({ ...needed, deep }).dropped).toEqual(['deep']);
  });

  test('issuer and subject stay, however large the others are', () => {
    const { claims } = claimsForSession({ ...needed, name: 'n'.repeat(9000), email: 'e'.repeat(9000) });
    expect(claims).toMatchObject({ iss: needed.iss, sub: needed.sub, sid: 'sid', acr: 'mfa' });
    expect(claims).not.toHaveProperty('name');
  });
});

test('the account: issuer and subject, and names that are text', () => {
  expect(accountOf(needed)).toEqual({
    issuer: needed.iss,
    subject: 'alice',
    username: 'alice',
    name: 'Alice',
  });
  expect(accountOf({ iss: 'i', sub: 's', email: 'e@example.com' })).toMatchObject({
    username: 'e@example.com',
  });
  expect(accountOf({ iss: 'i', sub: 's', name: 5, preferred_username: ['x'] })).toEqual({
    issuer: 'i',
    subject: 's',
  });
});

describe('step-up (RFC 9470)', () => {
  const satisfies = (demand: object, claims: object = {}) =>
    satisfiesStepUp({ ...needed, ...claims }, demand, NOW, 30);
  test.each<[string, object, object, boolean]>([
    ['nothing asked', {}, { acr: undefined, auth_time: undefined }, true],
    ['the class', { acrValues: 'mfa' }, {}, true],
    ['one of the classes', { acrValues: 'phr mfa' }, {}, true],
    ['another class', { acrValues: 'phr' }, {}, false],
    ['a class that begins like it', { acrValues: 'mfa-plus' }, {}, false],
    ['no class', { acrValues: 'mfa' }, { acr: undefined }, false],
    ['a class that is no text', { acrValues: 'mfa' }, { acr: ['mfa', 'phr'] }, false],
    ['just now', { maxAge: 0 }, {}, true],
    ['within clock tolerance', { maxAge: 60 }, { auth_time: NOW - 90 }, true],
    ['too long ago', { maxAge: 60 }, { auth_time: NOW - 91 }, false],
    ['unknown when', { maxAge: 60 }, { auth_time: undefined }, false],
    ['a time that is no number', { maxAge: 60 }, { auth_time: String(NOW) }, false],
    ['recent, but another class', { maxAge: 60, acrValues: 'phr' }, {}, false],
  ])('%s', (_name, demand, claims, expected) => {
    expect(satisfies(demand, claims)).toBe(expected);
  });
});

test('claims are compared as JSON values, and those of the prototype are none', () => {
  const claims: IdTokenClaims = {
    ...needed,
    admin: true,
    level: 1,
    none: null,
    roles: ['a', 1],
    scope: 'x y',
  };
  expect(claimIs(claims, 'admin', true)).toBe(true);
  expect(claimIs(claims, 'admin', 'true')).toBe(false);
  expect(claimIs(claims, 'level', '1')).toBe(false);
  expect(claimIs(claims, 'none', null)).toBe(true);
  expect(claimIs(claims, 'missing', null)).toBe(false);
  expect(claimHolds(claims, 'roles', ['a', 1])).toBe(true);
  expect(claimHolds(claims, 'roles', ['a', '1'])).toBe(false);
  expect(claimHolds(claims, 'scope', ['y', 'x'])).toBe(true);
  expect(claimHolds(claims, 'scope', ['x y'])).toBe(false);
  expect(claimHolds(claims, 'admin', [true])).toBe(false);
  expect(claimHolds(claims, 'constructor', [])).toBe(false);
  expect(claimHolds(claims, 'missing', [])).toBe(false);
});
