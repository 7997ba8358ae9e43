import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import {
  ClaimMismatchError,
  ConfigurationError,
  InteractionRequiredError,
  LoginError,
  OidcTokensError,
  ProviderUnavailableError,
  ScopeNotGrantedError,
  StoreUnavailableError,
  safeText,
  TokenEndpointError,
} from '../../src/core/errors.ts';
import { collectConsole } from '../support/leaks.ts';

const interaction = {
  reason: 'scope_refused',
  scopes: ['a', 'b'],
  resource: 'https://r1.example',
  claims: '{}',
  maxAge: 60,
} as const;

describe('class, code, status, headers', () => {
  test.each([
    [new ConfigurationError('m'), 'ERR_OIDC_CONFIGURATION', 500, undefined],
    [new InteractionRequiredError(interaction), 'ERR_OIDC_INTERACTION_REQUIRED', 401, undefined],
    [new LoginError('m', { error: 'e' }), 'ERR_OIDC_LOGIN_FAILED', 400, undefined],
    [new LoginError('m', { error: 'e', loop: true }), 'ERR_OIDC_LOGIN_LOOP', 400, undefined],
    [new ScopeNotGrantedError(['c']), 'ERR_OIDC_SCOPE_NOT_GRANTED', 403, undefined],
    [new ClaimMismatchError('m'), 'ERR_OIDC_CLAIM_MISMATCH', 403, undefined],
    [new TokenEndpointError('m'), 'ERR_OIDC_TOKEN_ENDPOINT', 502, undefined],
    [new ProviderUnavailableError('m', 7), 'ERR_OIDC_PROVIDER_UNAVAILABLE', 503, { 'Retry-After': '7' }],
    [new StoreUnavailableError('m'), 'ERR_OIDC_STORE_UNAVAILABLE', 503, { 'Retry-After': '5' }],
  ])('%s', (error, code, status, headers) => {
    expect(error).toBeInstanceOf(OidcTokensError);
    expect(error).toBeInstanceOf(Error);
    expect(error.name).toBe(error.constructor.name);
    expect([error.code, error.status, error.headers]).toEqual([code, status, headers]);
    expect(error.toJSON()).toEqual({ error: code, message: error.message, status });
    expect(String(error.stack)).toContain(`${error.name}: ${error.message}`);
  });
});

test('an interaction that is required is a signal: it says what is needed, and its stack is one line', () => {
  const error = new InteractionRequiredError(interaction);
  expect(error).toMatchObject(interaction);
  expect(error.message).toContain('a b (scope_refused)');
  expect(error.stack).toBe(`InteractionRequiredError: ${error.message}`);
  expect(error.stack).not.toContain('\n');
});

test.each([
  [undefined, 5],
  [0, 1],
  [0.2, 1],
  [-5, 1],
  [59.2, 60],
])('Retry-After of %p is %p whole seconds', (given, seconds) => {
  const error = new ProviderUnavailableError('m', given);
  expect([error.retryAfter, error.headers]).toEqual([seconds, { 'Retry-After': String(seconds) }]);
});

describe('what a stranger wrote', () => {
  const nasty = '<script>alert(`1`)</script> & "quoted" \'text\'\r\nset-cookie: a\u2028\u202e\u0000';
  test('is safe in a page, on one line, and short', () => {
    const error = new LoginError('m', { error: nasty.repeat(10), errorDescription: nasty.repeat(10) });
    for (const [text, length] of [
      [error.error, 80],
      [error.errorDescription!, 300],
    ] as const) {
      expect(text).not.toMatch(/[<>&"'`\p{C}\u2028\u2029]/u);
      expect(text.length).toBeLessThanOrEqual(length);
    }
  });

  test('stays readable in every language', () => {
    expect(safeText('Zugriff verweigert – 拒否 (größer, 5 €)', 80)).toBe(
      'Zugriff verweigert – 拒否 (größer, 5 €)',
    );
  });
});

describe('causes', () => {
  const TOKEN = 'at-0123456789-secret';
  /** As openid-client and oauth4webapi attach them: the body, the response, the request. */
  function libraryError(): Error {
    const error = new Error('"response" body "expires_in" property must be a number', {
      cause: { body: { access_token: TOKEN }, toString: () => TOKEN },
    });
    return Object.assign(error, {
      code: 'OAUTH_INVALID_RESPONSE',
      body: { refresh_token: TOKEN },
      response: { headers: { authorization: `Bearer ${TOKEN}` } },
      [Symbol('secret')]: TOKEN,
    });
  }
  function parseError(): unknown {
    try {
      return JSON.parse(`${TOKEN} is not JSON`);
    } catch (error) {
      return error;
    }
  }
  const circular = new Error('round');
  circular.cause = Object.assign(new Error('and round'), { cause: circular, token: TOKEN });
  let deep: Error = libraryError();
  for (let level = 0; level < 10; level += 1) deep = new Error(`level ${level}`, { cause: deep });
  class TokenError extends Error {
    readonly accessToken = TOKEN;
    override toString = () => TOKEN;
    toJSON = () => ({ token: TOKEN });
    [inspect.custom] = () => TOKEN;
  }

  test.each<[string, unknown]>([
    ['of a library', libraryError()],
    ['of a library, inside another', new Error('outer', { cause: libraryError() })],
    ['JSON.parse, which quotes its input', parseError()],
    ['JSON.parse, inside another', new TypeError('fetch failed', { cause: parseError() })],
    ['a class of its own', new TokenError('m')],
    ['many errors', new AggregateError([libraryError()], 'all failed')],
    ['text', TOKEN],
    ['an object', { access_token: TOKEN, message: 'no error', name: 'Odd' }],
    ['a circle', circular],
    ['very deep', deep],
  ])('%s: no secret, however it is printed', (_name, cause) => {
    const output = collectConsole();
    const errors = [new TokenEndpointError('m', { cause }), new LoginError('m', { error: 'e', cause })];
    for (const error of errors) console.error(error, JSON.stringify(error));
    output.restore();
    const printed = errors.map((error) => inspect(error, { depth: Infinity, showHidden: true }));
    expect(output.lines).toHaveLength(2);
    for (const text of [output.text(), ...printed]) {
      expect(text).toContain('ERR_OIDC_');
      expect(text).not.toContain(TOKEN);
    }
  });

  test('what helps to find the fault stays: class, message and code, down the chain', () => {
    const cause = new TypeError('fetch failed', {
      cause: Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
    });
    const error = new ProviderUnavailableError('m', 5, cause);
    expect(error.cause).toMatchObject({
      name: 'TypeError',
      message: 'fetch failed',
      cause: { message: 'connect ECONNREFUSED', code: 'ECONNREFUSED' },
    });
    const own = new ConfigurationError('own');
    expect(new TokenEndpointError('m', { cause: own }).cause).toBe(own);
    expect(new TokenEndpointError('m')).not.toHaveProperty('cause');
  });

  test('a cause that is no error, such as an answer, leaves no copy of nothing', () => {
    const cause = new Error('unexpected status', { cause: new Response('', { status: 404 }) });
    expect(new ProviderUnavailableError('m', 5, cause).cause).not.toHaveProperty('cause');
  });

  test('a cause of another realm is read by its fields', () => {
    const foreign = { name: 'Error', message: 'foreign', code: 'E', cause: null, extra: TOKEN };
    expect(inspect(new TokenEndpointError('m', { cause: foreign }))).not.toContain(TOKEN);
    expect(new TokenEndpointError('m', { cause: foreign }).cause).toMatchObject({
      message: 'foreign',
      code: 'E',
    });
  });
});
