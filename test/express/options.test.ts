import { describe, expect, test } from '@jest/globals';
import { auth, ConfigurationError } from 'express-oidc-tokens';
import { parseOptions } from '../../src/express/settings.ts';

type AuthOptions = NonNullable<Parameters<typeof auth>[0]>;

const KEY = Buffer.alloc(32, 'key').toString('base64');
const SECRET = 'secret-0123456789';
const good = {
  issuer: 'https://op.example',
  clientId: 'web-app',
  clientSecret: SECRET,
  baseUrl: 'https://app.example/app',
};

/** Callers in JavaScript pass anything. */
const parse = (options: object = {}, env: Record<string, string> = {}) =>
  parseOptions({ ...good, ...options } as AuthOptions, env);

function errorOf(run: () => unknown): Error {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

describe('a value of the wrong kind: a TypeError that says what it must be', () => {
  test.each<[object, string]>([
    [
      { isuer: 'https://op.example' },
      'auth() has no option "isuer"; it takes issuer, clientId, clientSecret,',
    ],
    ...[true, { rolling: true }].map((session): [object, string] => [
      { session },
      "session may only be false, for a web API: sessions are express-session's, mounted before auth()",
    ]),
    [{ authRequired: true }, 'auth() has no option "authRequired"; it takes issuer,'],
    [{ issuer: 5 }, 'issuer must be a non-empty string'],
    [{ issuer: '' }, 'issuer must be a non-empty string'],
    [{ issuerBaseURL: null }, 'issuerBaseURL must be a non-empty string'],
    [{ clientId: '' }, 'clientId must be a non-empty string'],
    [{ clientSecret: 5 }, 'clientSecret must be a non-empty string'],
    [{ baseUrl: new URL('https://app.example') }, 'baseUrl must be a non-empty string'],
    [{ scopes: 5 }, 'scopes must be a string separated by spaces or an array of strings'],
    [{ scopes: ['openid', 5] }, 'scopes must be a string separated by spaces or an array of strings'],
    [{ scopes: 'openid "a"' }, 'scopes holds "\\"a\\"", which is not a scope (RFC 6749 section 3.3)'],
    [{ resources: null }, 'resources takes an object'],
    [{ resources: 'orders' }, 'resources takes an object'],
    [{ resources: ['orders'] }, 'resources takes an object'],
    [{ resources: { orders: 'https://r1.example' } }, 'resources.orders takes an object'],
    [{ resources: { orders: null } }, 'resources.orders takes an object'],
    [{ resources: { orders: { scope: 'a' } } }, 'resources.orders has no option "scope"; it takes'],
    [{ resources: { orders: { resource: 'https://r1.example' } } }, 'resources.orders.scopes must be'],
    [
      { resources: { orders: { resource: 'orders', scopes: 'a' } } },
      'resources.orders.resource must be an absolute',
    ],
    [
      { resources: { orders: { audience: '', scopes: 'a' } } },
      'resources.orders.audience must be a non-empty string',
    ],
    [{ clientAuth: 'basic' }, 'clientAuth must be one of auto, client_secret_basic, client_secret_post,'],
    [{ clientAuth: null }, 'clientAuth must be one of auto,'],
    [{ clientPrivateKey: 'pem' }, 'clientPrivateKey must be a private JWK, an object with kty and d'],
    [
      { clientPrivateKey: { kty: 'RSA' } },
      'clientPrivateKey must be a private JWK, an object with kty and d',
    ],
    [{ clientPrivateKey: null }, 'clientPrivateKey must be a private JWK'],
    [{ routes: null }, 'routes takes an object'],
    [{ routes: ['/login'] }, 'routes takes an object'],
    [{ routes: { postLogin: '/x' } }, 'routes has no option "postLogin"; it takes login, callback, logout'],
    [{ routes: { login: 'login' } }, 'routes.login must be a path such as /login'],
    [{ routes: { login: '/login?x=1' } }, 'routes.login must be a path such as /login'],
    [{ routes: { login: 'https://app.example/login' } }, 'routes.login must be a path such as /login'],
    [{ routes: { logout: true } }, 'routes.logout must be a path such as /login'],
    [{ routes: { callback: false } }, 'routes.callback must be a path: the provider sends users there'],
    [{ responseMode: 'fragment' }, 'responseMode must be one of query, form_post'],
    [{ pushedAuthorizationRequests: true }, 'pushedAuthorizationRequests must be one of auto, always, never'],
    [{ authorizationParams: null }, 'authorizationParams takes an object'],
    [{ authorizationParams: 'prompt=consent' }, 'authorizationParams takes an object'],
    [{ authorizationParams: ['prompt'] }, 'authorizationParams takes an object'],
    [
      { authorizationParams: { max_age: 5 } },
      'authorizationParams.max_age must be a string or an array of strings',
    ],
    [{ authorizationParams: { resource: 'orders' } }, 'authorizationParams.resource must be an absolute URI'],
    [{ encryptionKeys: `k1:${KEY}` }, 'encryptionKeys must be an array of { kid, key }'],
    [{ encryptionKeys: { kid: 'k1', key: KEY } }, 'encryptionKeys must be an array of { kid, key }'],
    [{ allowUnencryptedTokens: 'yes' }, 'allowUnencryptedTokens must be true or false'],
    [
      { allowUnencryptedTokens: 1, encryptionKeys: [{ kid: 'k', key: KEY }] },
      'allowUnencryptedTokens must be',
    ],
    [{ allowInsecureRequests: 'true' }, 'allowInsecureRequests must be true or false'],
    [{ preservePost: 'true' }, 'preservePost must be true or false'],
    [{ callerTimeoutMs: '6000' }, 'callerTimeoutMs must be a positive number'],
    [{ callerTimeoutMs: 0 }, 'callerTimeoutMs must be a positive number'],
    [{ callerTimeoutMs: Number.POSITIVE_INFINITY }, 'callerTimeoutMs must be a positive number'],
    [{ grantTimeoutMs: 2 ** 31 }, 'grantTimeoutMs must be at most 2147483647 milliseconds'],
    [{ clockTolerance: -1 }, 'clockTolerance must be'],
    [{ clockTolerance: '0' }, 'clockTolerance must be'],
    [{ defaultLifetime: Number.NaN }, 'defaultLifetime must be a positive number'],
    [{ maxTokens: 0 }, 'maxTokens must be a positive number'],
    [{ maxRetryAfterMs: null }, 'maxRetryAfterMs must be a positive number'],
    [{ storeReadTimeoutMs: -5 }, 'storeReadTimeoutMs must be a positive number'],
    [{ storeWriteTimeoutMs: '2s' }, 'storeWriteTimeoutMs must be a positive number'],
    [{ afterLogin: true }, 'afterLogin must be a function'],
    [{ fetch: {} }, 'fetch must be a function'],
    [{ logger: null }, 'logger needs the method debug(message, details)'],
    [{ logger: { debug() {}, info() {}, warn() {} } }, 'logger needs the method error(message, details)'],
  ])('%j', (options, message) => {
    const error = errorOf(() => parse(options));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message.slice(0, message.length)).toBe(message);
    expect(error.message).not.toContain(SECRET);
  });

  test.each([null, 5, 'https://op.example', [], () => undefined])('auth(%p)', (options) => {
    expect(() => auth(options as AuthOptions)).toThrow(new TypeError('auth() takes an object'));
  });
});

test('an option that is undefined is one that was left out', () => {
  const left = parse({ fetch, encryptionKeys: [] });
  const names =
    /it takes ([\w, ]+)/.exec(errorOf(() => parse({ nothing: 1 })).message)?.[1]?.split(', ') ?? [];
  expect(names.length).toBeGreaterThan(30);
  const none = Object.fromEntries(names.map((name) => [name, undefined]));
  expect(parse({ ...none, ...good, fetch })).toEqual(left);
});

describe('a missing or contradictory one: a ConfigurationError that says what to do', () => {
  test.each<[object, string | RegExp]>([
    [{ issuer: 'op.example' }, 'issuer (OIDC_ISSUER) must be an absolute URL, such as https://'],
    [{ issuer: 'ftp://op.example' }, 'issuer (OIDC_ISSUER) must be an absolute URL'],
    [
      { issuer: 'https://op.example?x=1' },
      'issuer (OIDC_ISSUER) must be a URL without user, query and fragment.',
    ],
    [{ issuer: 'https://user:pass@op.example' }, 'issuer (OIDC_ISSUER) must be a URL without user'],
    [
      { baseUrl: '/app' },
      'baseUrl (OIDC_BASE_URL) must be an absolute URL, such as https://app.example; it is "/app".',
    ],
    [
      { baseUrl: 'https://app.example/#x' },
      'baseUrl (OIDC_BASE_URL) must be a URL without user, query and fragment.',
    ],
    [{ scopes: 'profile' }, 'scopes must hold openid: without it the provider signs nobody in.'],
    [{ scopes: '' }, 'scopes must hold openid'],
    [{ scopes: 'OpenID' }, 'scopes must hold openid'],
    [
      { clientSecret: undefined, clientAuth: 'client_secret_post' },
      /client_secret_post needs a client secret: pass/,
    ],
    [
      { clientSecret: undefined, clientAuth: 'client_secret_jwt' },
      /client_secret_jwt needs a client secret: pass/,
    ],
    [{ clientAuth: 'private_key_jwt' }, 'clientAuth private_key_jwt needs clientPrivateKey, a private JWK.'],
    [{ idTokenSigningAlg: 'HS256' }, /^idTokenSigningAlg must be one of RS256, .*others let whoever knows/],
    [{ idTokenSigningAlg: 'none' }, 'idTokenSigningAlg must be one of RS256'],
    [{ idTokenSigningAlg: 5 }, 'idTokenSigningAlg must be one of RS256'],
    [
      { authorizationParams: { scope: 'a' } },
      'authorizationParams.scope cannot be set: use the option scopes.',
    ],
    ...[
      'client_id',
      'redirect_uri',
      'response_type',
      'state',
      'nonce',
      'code_challenge',
      'request',
      'response_mode',
    ].map((name): [object, string] => [
      { authorizationParams: { [name]: 'x' } },
      `authorizationParams.${name} cannot be set: the middleware sets it.`,
    ]),
    [{ encryptionKeys: [{ key: KEY }] }, 'encryptionKeys[0].kid must be a non-empty string.'],
    [{ encryptionKeys: [null] }, 'encryptionKeys[0].kid must be a non-empty string.'],
    [
      { encryptionKeys: [{ kid: 'k1', key: 'c2hvcnQ=' }] },
      'The encryption key "k1" must be 32 bytes, or their base64: it has 5.',
    ],
    [
      { encryptionKeys: [{ kid: 'k1' }] },
      'The encryption key "k1" must be 32 bytes, or their base64: it has 0.',
    ],
    [
      { encryptionKeys: [{ kid: 'k1', key: new Uint8Array(31) }] },
      'The encryption key "k1" must be 32 bytes',
    ],
    [
      {
        encryptionKeys: [
          { kid: 'k', key: KEY },
          { kid: 'k', key: KEY },
        ],
      },
      'Two encryption keys have the same kid',
    ],
    [
      { issuerBaseURL: 'https://other.example' },
      'issuer and issuerBaseURL mean the same and differ: keep one of them.',
    ],
    [{ clientID: 'other' }, 'clientId and clientID mean the same and differ: keep one of them.'],
    [{ baseURL: 'https://app.example' }, 'baseUrl and baseURL mean the same and differ: keep one of them.'],
    [
      { routes: { login: '/callback' } },
      'Two routes have the same path: each of login, callback, logout, backchannelLogout, frontchannelLogout needs its own.',
    ],
    [{ routes: { login: '/x', logout: '/x' } }, 'Two routes have the same path'],
  ])('%j', (options, message) => {
    const error = errorOf(() => parse(options));
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error).toMatchObject({ code: 'ERR_OIDC_CONFIGURATION', status: 500 });
    if (typeof message === 'string') expect(error.message.slice(0, message.length)).toBe(message);
    else expect(error.message).toMatch(message);
    expect(error.message).not.toContain(SECRET);
    expect(error.message).not.toContain(KEY);
  });

  test.each([
    ['issuer', 'OIDC_ISSUER'],
    ['clientId', 'OIDC_CLIENT_ID'],
    ['baseUrl', 'OIDC_BASE_URL'],
  ])('%s missing', (name, variable) => {
    expect(() => parse({ [name]: undefined })).toThrow(
      new ConfigurationError(`${name} is missing: pass auth({ ${name} }) or set ${variable}.`),
    );
    expect(() => parse({ [name]: undefined }, { [variable]: '' })).toThrow(ConfigurationError);
  });
});

describe('plain http', () => {
  test.each([
    'http://localhost:3000',
    'http://op.localhost',
    'http://127.0.0.1:9',
    'http://127.8.8.8',
    'http://[::1]:9',
    'https://op.example',
  ])('%s is fine', (issuer) => {
    expect(parse({ issuer }).issuer.href).toContain(issuer);
  });

  test.each([
    'http://op.example',
    'http://10.0.0.1',
    'http://192.168.1.1',
    'http://0.0.0.0',
    'http://128.0.0.1',
    'http://127.0.0.1.evil.example',
    'http://localhost.evil.example',
    'http://notlocalhost',
    'http://[::2]',
    'http://[::ffff:10.0.0.1]',
  ])('%s has to be spelled out', (issuer) => {
    expect(() => parse({ issuer })).toThrow(ConfigurationError);
    expect(() => parse({ issuer })).toThrow(/is plain http: use https, or set allowInsecureRequests: true/);
    expect(parse({ issuer, allowInsecureRequests: true }).issuer.href).toContain('http://');
  });
});
