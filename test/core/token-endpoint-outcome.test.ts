import { describe, expect, test } from '@jest/globals';
import {
  classifyFailure,
  parseRetryAfter,
  retriesFor,
  type TokenEndpointFailure,
} from '../../src/core/token-endpoint-outcome.ts';
import { NOW } from './fixtures.ts';

const answered = (fields: Omit<TokenEndpointFailure, 'transport'>) => ({
  transport: 'answered' as const,
  ...fields,
});
const error = (name: string, status = 400) => answered({ status, error: name });
const claims = '{"access_token":{}}';
const interaction = { kind: 'interaction', claims: undefined };

describe('what a failed token request means, and how often it is sent once more', () => {
  const table: [string, TokenEndpointFailure, object, number][] = [
    ['refused, DNS, connect timeout', { transport: 'not_sent' }, { kind: 'not_sent' }, 2],
    ['reset, timeout, body cut', { transport: 'no_answer' }, { kind: 'ambiguous' }, 1],
    ['invalid_grant', error('invalid_grant'), { kind: 'rejected' }, 0],
    ['interaction_required', error('interaction_required'), interaction, 0],
    ['login_required', error('login_required'), interaction, 0],
    ['consent_required', error('consent_required'), interaction, 0],
    ['account_selection_required', error('account_selection_required'), interaction, 0],
    ['mfa_required', error('mfa_required', 403), interaction, 0],
    ['insufficient_user_authentication', error('insufficient_user_authentication', 401), interaction, 0],
    [
      '… with claims',
      answered({ ...error('interaction_required'), claims }),
      { kind: 'interaction', claims },
      0,
    ],
    ['… as suberror', answered({ ...error('invalid_grant'), suberror: 'mfa_required' }), interaction, 0],
    ['… of Entra', answered({ ...error('invalid_grant'), suberror: 'basic_action' }), interaction, 0],
    [
      'another suberror',
      answered({ ...error('invalid_grant'), suberror: 'bad_token' }),
      { kind: 'rejected' },
      0,
    ],
    ['invalid_scope', error('invalid_scope'), { kind: 'scope_refused' }, 0],
    ['invalid_target', error('invalid_target'), { kind: 'scope_refused' }, 0],
    ['invalid_client', error('invalid_client', 401), { kind: 'configuration', error: 'invalid_client' }, 0],
    ['… with 400', error('invalid_client'), { kind: 'configuration', error: 'invalid_client' }, 0],
    [
      'unauthorized_client',
      error('unauthorized_client'),
      { kind: 'configuration', error: 'unauthorized_client' },
      0,
    ],
    ['unsupported_grant_type', error('unsupported_grant_type'), { kind: 'configuration' }, 0],
    ['401 without a word', answered({ status: 401 }), { kind: 'configuration', error: 'invalid_client' }, 0],
    ['429', answered({ status: 429, retryAfter: 5 }), { kind: 'throttled', retryAfter: 5 }, 0],
    ['503', answered({ status: 503 }), { kind: 'throttled', retryAfter: undefined }, 0],
    ['503 with an error of the protocol', error('invalid_grant', 503), { kind: 'throttled' }, 0],
    ['temporarily_unavailable', error('temporarily_unavailable'), { kind: 'throttled' }, 0],
    ['slow_down', error('slow_down'), { kind: 'throttled' }, 0],
    ['500', answered({ status: 500 }), { kind: 'ambiguous' }, 1],
    ['500 with invalid_grant', error('invalid_grant', 500), { kind: 'ambiguous' }, 1],
    ['502 with invalid_client', error('invalid_client', 502), { kind: 'ambiguous' }, 1],
    ['server_error with 400', error('server_error'), { kind: 'ambiguous' }, 1],
    ['504', answered({ status: 504 }), { kind: 'ambiguous' }, 1],
    ['HTML, half a JSON, nothing, with 200', answered({ status: 200 }), { kind: 'ambiguous' }, 1],
    ['HTML with 403', answered({ status: 403 }), { kind: 'ambiguous' }, 1],
    ['a redirect', answered({ status: 302 }), { kind: 'ambiguous' }, 1],
    ['JSON that is no token answer', answered({ refused: 'malformed' }), { kind: 'ambiguous' }, 1],
    [
      'another subject',
      answered({ refused: 'other_subject' }),
      { kind: 'unusable', because: 'other_subject' },
      0,
    ],
    ['a false ID token', answered({ refused: 'invalid_id_token' }), { kind: 'unusable' }, 0],
    ['no keys', answered({ refused: 'keys_unavailable' }), { kind: 'unusable' }, 0],
    ['invalid_request', error('invalid_request'), { kind: 'failed', error: 'invalid_request' }, 0],
    ['an error nobody knows', error('tea_time'), { kind: 'failed', error: 'tea_time' }, 0],
  ];
  test.each(table)('%s', (_name, failure, expected, retries) => {
    const outcome = classifyFailure(failure);
    expect(outcome).toMatchObject(expected);
    expect(retriesFor(outcome)).toBe(retries);
  });
});

test('only invalid_grant costs the refresh token', () => {
  const errors = ['invalid_request', 'invalid_client', 'server_error', 'access_denied', 'invalid_token', ''];
  for (const name of errors)
    for (const status of [200, 302, 400, 401, 403, 404, 409, 429, 500, 502, 503])
      expect(classifyFailure(answered({ status, error: name })).kind).not.toBe('rejected');
});

describe('Retry-After', () => {
  test.each([
    ['5', 5],
    [' 120 ', 120],
    ['0', 0],
    [new Date((NOW + 90) * 1000).toUTCString(), 90],
    [new Date((NOW - 90) * 1000).toUTCString(), 0],
    ['soon', undefined],
    ['', undefined],
    [null, undefined],
  ])('%j → %p', (value, seconds) => {
    expect(parseRetryAfter(value, NOW)).toBe(seconds);
  });

  test.each(['-5', '1.5', '1e99', '5, 10', '99999999999999999999'])('%j: no number that counts', (value) => {
    const seconds = parseRetryAfter(value, NOW);
    expect(seconds === undefined || (Number.isSafeInteger(seconds) && seconds >= 0)).toBe(true);
  });
});
