import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { auth, ConfigurationError } from 'express-oidc-tokens';
import { parseOptions, type Settings } from '../../src/express/settings.ts';
import { collectConsole } from '../support/leaks.ts';

type AuthOptions = NonNullable<Parameters<typeof auth>[0]>;
type Env = Record<string, string>;

const KEYS = [randomBytes(32), randomBytes(32)] as const;
const base64 = KEYS.map((key) => key.toString('base64'));
const own: Env = {
  OIDC_ISSUER: 'https://op.example',
  OIDC_CLIENT_ID: 'web-app',
  OIDC_CLIENT_SECRET: 'secret',
  OIDC_BASE_URL: 'https://app.example',
};
/** As express-openid-connect has them. */
const aliases: Env = {
  ISSUER_BASE_URL: 'https://op.example',
  CLIENT_ID: 'web-app',
  CLIENT_SECRET: 'secret',
  BASE_URL: 'https://app.example',
};
const identity = ({ issuer, clientId, clientSecret, baseUrl }: Settings) =>
  [issuer.href, clientId, clientSecret, baseUrl.href].join(' ');
const EXPECTED = 'https://op.example/ web-app secret https://app.example/';

describe('where the registration comes from', () => {
  const camel = {
    issuer: 'https://op.example',
    clientId: 'web-app',
    clientSecret: 'secret',
    baseUrl: 'https://app.example',
  };
  const connect = {
    issuerBaseURL: 'https://op.example',
    clientID: 'web-app',
    clientSecret: 'secret',
    baseURL: 'https://app.example',
  };
  const wrong = Object.fromEntries(
    Object.entries({ ...own, ...aliases }).map(([name, value]) => [name, `${value}.wrong`]),
  );

  test.each<[string, object, Env]>([
    ['options', camel, {}],
    ['options of express-openid-connect', connect, {}],
    ['both, saying the same', { ...camel, ...connect }, {}],
    ['the environment', {}, own],
    ['the environment of express-openid-connect', {}, aliases],
    ['both environments, saying the same', {}, { ...own, ...aliases }],
    ['an empty variable is none', {}, { ...own, ISSUER_BASE_URL: '', CLIENT_ID: '' }],
    ['an option wins over the environment', camel, wrong],
    ['so does one of express-openid-connect', connect, wrong],
  ])('%s', (_name, options, env) => {
    expect(identity(parseOptions(options as AuthOptions, env))).toBe(EXPECTED);
  });

  test.each(Object.keys(own).map((name, index) => [name, Object.keys(aliases)[index]!]))(
    '%s and %s that differ are an error',
    (name, alias) => {
      const env = { ...own, ...aliases, [alias]: 'https://other.example' };
      expect(() => parseOptions({}, env)).toThrow(ConfigurationError);
      expect(() => parseOptions({}, env)).toThrow(
        `${name} and ${alias} mean the same and differ: keep one of them.`,
      );
    },
  );
});

describe('OIDC_ENCRYPTION_KEYS', () => {
  const ring = (keys: string, options: AuthOptions = {}) =>
    parseOptions(options, { ...own, OIDC_ENCRYPTION_KEYS: keys }).encryptionKeys?.map(({ kid, key }) => [
      kid,
      Buffer.from(key).toString('base64'),
    ]);

  test('kid:base64, the first first', () => {
    expect(ring(`k1:${base64[0]}`)).toEqual([['k1', base64[0]]]);
    expect(ring(` k2:${base64[1]} , k1:${base64[0]},`)).toEqual([
      ['k2', base64[1]],
      ['k1', base64[0]],
    ]);
  });

  test('base64url is base64 too', () => {
    expect(ring(`k1:${KEYS[0].toString('base64url')}`)).toEqual([['k1', base64[0]]]);
  });

  test('the option wins; bytes are taken as they are', () => {
    expect(ring('junk', { encryptionKeys: [{ kid: 'o', key: KEYS[1] }] })).toEqual([['o', base64[1]]]);
  });

  test.each([
    [base64[0]!, 'OIDC_ENCRYPTION_KEYS must be kid:base64, several separated by commas.'],
    [`:${base64[0]}`, 'OIDC_ENCRYPTION_KEYS must be kid:base64'],
    [`k1:${base64[0]!.slice(4)}`, 'The encryption key "k1" must be 32 bytes, or their base64: it has '],
    ['k1:', 'The encryption key "k1" must be 32 bytes, or their base64: it has '],
    [`k1:${base64[0]},k1:${base64[1]}`, 'Two encryption keys have the same kid: every key needs its own.'],
  ])('a wrong one is refused without being quoted (%#)', (keys, message) => {
    let error: unknown;
    try {
      ring(keys);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(ConfigurationError);
    expect((error as Error).message).toContain(message);
    for (const key of base64) expect((error as Error).message).not.toContain(key.slice(4, 20));
  });
});

describe('without keys', () => {
  const before = { ...process.env };
  let output: ReturnType<typeof collectConsole>;
  beforeEach(() => {
    Object.assign(process.env, own);
    delete process.env.OIDC_ENCRYPTION_KEYS;
    output = collectConsole();
  });
  afterEach(() => {
    output.restore();
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  });

  test('production refuses to start, and says the command that makes a key', () => {
    process.env.NODE_ENV = 'production';
    expect(() => auth()).toThrow(ConfigurationError);
    expect(() => auth({ encryptionKeys: [] })).toThrow(/OIDC_ENCRYPTION_KEYS is missing/);
    expect(() => auth({ allowUnencryptedTokens: false })).toThrow(/OIDC_ENCRYPTION_KEYS is missing/);
    const command = /node -e "(.*)"/.exec(messageOf(() => auth()))?.[1];
    expect(output.lines).toEqual([]);
    expect(madeBy(command!)).toMatch(/^k1:[\w+/]{43}=$/);
  });

  test('production starts with keys, or where it is spelled out that tokens lie readable', () => {
    process.env.NODE_ENV = 'production';
    auth({ encryptionKeys: [{ kid: 'k1', key: base64[0]! }] });
    auth({ allowUnencryptedTokens: true });
    process.env.OIDC_ENCRYPTION_KEYS = `k1:${base64[0]}`;
    auth();
    expect(output.lines).toEqual([]);
  });

  test('development warns once, and says the command that makes a key', () => {
    auth();
    expect(output.lines.map(({ method }) => method)).toEqual(['warn']);
    expect(output.text()).toMatch(/^express-oidc-tokens: No OIDC_ENCRYPTION_KEYS:/);
    expect(madeBy(/node -e "(.*)"/.exec(output.text())![1]!)).toMatch(/^k1:[\w+/]{43}=$/);
  });

  function messageOf(run: () => unknown): string {
    try {
      run();
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** What the suggested command prints, run here. */
  function madeBy(script: string): string {
    let printed = '';
    const run = new Function('console', 'require', script);
    run({ log: (text: string) => (printed = text) }, () => ({ randomBytes }));
    return printed;
  }
});

test('defaults: what an app that says nothing gets', () => {
  expect(parseOptions({}, own)).toMatchObject({
    scopes: ['email', 'offline_access', 'openid', 'profile'],
    clientAuth: 'auto',
    routes: { login: '/login', callback: '/callback', logout: '/logout' },
    redirectUri: 'https://app.example/callback',
    responseMode: 'query',
    pushedAuthorizationRequests: 'auto',
    idTokenSigningAlg: 'RS256',
    authorizationParams: {},
    callerTimeoutMs: 6000,
    grantTimeoutMs: 25_000,
    clockTolerance: 30,
    defaultLifetime: 300,
    maxTokens: 250,
    maxRetryAfterMs: 60_000,
    preservePost: false,
    allowInsecureRequests: false,
  });
});

test('redirect URIs begin with the path of the base URL', () => {
  const uri = (OIDC_BASE_URL: string) => parseOptions({}, { ...own, OIDC_BASE_URL }).redirectUri;
  expect(uri('https://app.example/app')).toBe('https://app.example/app/callback');
  expect(uri('https://app.example/app/')).toBe('https://app.example/app/callback');
});

test('the settings cannot be changed afterwards', () => {
  expect(Object.isFrozen(parseOptions({}, own))).toBe(true);
});
