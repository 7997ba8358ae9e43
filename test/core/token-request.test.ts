import { describe, expect, test } from '@jest/globals';
import { normalizeRequest, type RequestDefaults, userInfoRequest } from '../../src/core/token-request.ts';
import { R1, R2 } from './fixtures.ts';

const defaults: RequestDefaults = {
  scopes: ['a', 'b'],
  target: { resource: R1 },
  resources: { mail: { resource: R2, scopes: ['mail.read'] }, plain: { scopes: ['c'] } },
};

// Callers in JavaScript pass anything.
const normalize = (input?: unknown) => normalizeRequest(input as string, defaults);
const keyOf = (input?: unknown) => normalize(input).key;

describe('what a request means', () => {
  test.each([
    ['nothing', undefined, { scopes: ['a', 'b'], resource: R1 }],
    ['an empty object', {}, { scopes: ['a', 'b'], resource: R1 }],
    ['scopes as text', 'c b', { scopes: ['b', 'c'], resource: R1 }],
    ['scopes as an array', ['c', 'b'], { scopes: ['b', 'c'], resource: R1 }],
    ['OpenID scopes are left out', 'openid a email', { scopes: ['a'], resource: R1 }],
    ['no scopes at all', '', { scopes: [], resource: R1 }],
    ['a name of the option resources', 'mail', { scopes: ['mail.read'], resource: R2 }],
    ['a name without a resource', 'plain', { scopes: ['c'], resource: R1 }],
    ['names hold as text alone', ['mail'], { scopes: ['mail'], resource: R1 }],
    ['a resource has no default scopes', { resource: R2 }, { scopes: [], resource: R2 }],
    ['an audience is a target', { audience: 'api' }, { scopes: [], resource: undefined, audience: 'api' }],
    ['no name from the prototype', 'constructor', { scopes: ['constructor'], resource: R1 }],
    ['acrValues as an array', { acrValues: ['mfa', 'phr'] }, { acrValues: 'mfa phr' }],
    ['claims as an object', { claims: { id_token: {} } }, { claims: '{"id_token":{}}' }],
    ['claims as text', { claims: ' { "id_token": {} } ' }, { claims: '{"id_token":{}}' }],
    ['maxAge 0', { maxAge: 0 }, { maxAge: 0 }],
    ['forceRefresh', { forceRefresh: true }, { forceRefresh: true }],
    ['rejected', { rejected: 'at' }, { rejected: 'at', forceRefresh: false }],
  ])('%s', (_name, input, expected) => {
    expect(normalize(input)).toMatchObject(expected);
  });
});

describe('what a request cannot be', () => {
  const absolute =
    'resource must be an absolute URI without a fragment (RFC 8707 section 2), such as https://';
  test.each<[unknown, string]>([
    [null, 'getToken() takes scopes (a string or an array) or a request object'],
    [5, 'getToken() takes scopes'],
    [true, 'getToken() takes scopes'],
    [() => undefined, 'getToken() takes scopes'],
    [[5], 'scopes must be a string separated by spaces or an array of strings'],
    [{ scopes: 5 }, 'scopes must be a string separated by spaces or an array of strings'],
    [{ scopes: null }, 'scopes must be a string'],
    [{ scope: 'a' }, 'a token request has no field "scope"; it takes scopes, resource, audience, '],
    [{ scopes: 'a', force: true }, 'a token request has no field "force"; it takes scopes'],
    [{ resource: 'orders' }, absolute],
    [{ resource: '/orders' }, absolute],
    [{ resource: `${R1}#fragment` }, absolute],
    [{ resource: [R1, R2] }, absolute],
    [{ resource: null }, absolute],
    [{ audience: '' }, 'audience must be a non-empty string'],
    [{ audience: ['api'] }, 'audience must be a non-empty string'],
    [{ forceRefresh: 'yes' }, 'forceRefresh must be true or false'],
    [{ claims: 'acr' }, 'claims must be a JSON object or its text'],
    [{ claims: '[]' }, 'claims must be a JSON object or its text'],
    [{ claims: null }, 'claims must be a JSON object or its text'],
    [{ acrValues: '' }, 'acrValues must be a string separated by spaces or an array of strings'],
    [{ acrValues: [] }, 'acrValues must be'],
    [{ acrValues: [5] }, 'acrValues must be'],
    [{ maxAge: '60' }, 'maxAge must be a whole number of seconds, 0 or more'],
    [{ maxAge: -1 }, 'maxAge must be a whole number of seconds, 0 or more'],
    [{ maxAge: 1.5 }, 'maxAge must be a whole number of seconds, 0 or more'],
    [{ rejected: '' }, 'rejected must be a non-empty string'],
  ])('%j', (input, message) => {
    expect(() => normalize(input)).toThrow(TypeError);
    expect(() => normalize(input)).toThrow(message);
  });

  test('the message never holds the token', () => {
    expect(() => normalize({ rejected: ['at-secret'] })).toThrow(/^(?!.*at-secret)/);
  });
});

describe('keys', () => {
  test('equal for requests that one token answers alike', () => {
    expect(keyOf('b a openid')).toBe(keyOf(['a', 'b']));
    expect(keyOf()).toBe(keyOf('a b'));
    expect(keyOf({ scopes: 'a b', resource: R1 })).toBe(keyOf('a b'));
    expect(keyOf({ scopes: 'a', forceRefresh: true })).toBe(keyOf('a'));
    expect(keyOf('mail')).toBe(keyOf({ scopes: 'mail.read', resource: R2 }));
  });

  test('different for all others', () => {
    const requests = [
      'a',
      'A',
      'a b',
      '',
      { scopes: 'a', resource: R2 },
      { scopes: 'a', audience: R1 },
      { scopes: 'a', audience: 'api' },
      { scopes: 'a', audience: 'api a' },
      { scopes: 'a', resource: R1, audience: 'api' },
      { scopes: 'a', resource: `${R1}/` },
    ];
    expect(new Set([...requests.map(keyOf), userInfoRequest({}).key]).size).toBe(requests.length + 1);
  });
});
