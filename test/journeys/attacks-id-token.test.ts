import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { CompactSign, importJWK, type JWK } from 'jose';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { generateKeys } from '../support/provider-keys.ts';
import { now } from '../support/time.ts';
import { EVIL, expectSafe, forgeIdToken, sign, whoIs } from './attacks-support.ts';

// What the OpenID Foundation tests relying parties with (code flow), and some more.

let provider: TestProvider;
let app: TestApp;
let browser: Browser;
let foreignKey: JWK;

beforeAll(async () => {
  [foreignKey] = (await generateKeys()) as [JWK, JWK];
  provider = await startProvider();
  app = await startApp({
    provider,
    routes: (site) => {
      site.get('/recent', (_req, res) => void res.oidc.login({ maxAge: 60, returnTo: '/' }));
    },
  });
});
beforeEach(() => {
  browser = new Browser({ account: 'alice' });
  provider.clearCalls();
  provider.tamper = {};
});
afterEach(() => browser.close());
afterAll(async () => {
  await app.close();
  await provider.close();
});

const signed = (claims: Record<string, unknown>, options = {}) => sign(provider, claims, options);
const text = (value: string) => new TextEncoder().encode(value);

/** A login whose ID token is this one: nobody is signed in, and the next login works. */
async function expectRefused(
  forge: (nonce: string) => unknown,
  status = 400,
  start = '/login',
): Promise<void> {
  forgeIdToken(provider, forge);
  const page = await browser.navigate(`${app.url}${start}`);
  expectSafe(page, { app, provider, only: [status] });
  expect(page.url).toContain('/callback');
  expect(await whoIs(browser, app)).toBe('anonymous');
  expect(provider.tokenCalls).toHaveLength(1);
  await browser.login(app);
  expect(await whoIs(browser, app)).toBe('signed in as alice');
}

async function expectAccepted(forge: (nonce: string) => unknown, start = '/login'): Promise<void> {
  forgeIdToken(provider, forge);
  await browser.navigate(`${app.url}${start}`);
  expect(await whoIs(browser, app)).toBe('signed in as alice');
}

describe('claims', () => {
  test.each<[string, () => Record<string, unknown>]>([
    ['iss of another provider', () => ({ iss: EVIL })],
    ['iss with a slash more', () => ({ iss: `${provider.issuer}/` })],
    ['no iss', () => ({ iss: undefined })],
    ['aud of another client', () => ({ aud: 'other-app' })],
    ['aud that begins like ours', () => ({ aud: 'web-app-2' })],
    ['no aud', () => ({ aud: undefined })],
    ['an empty aud', () => ({ aud: [] })],
    ['several in aud and no azp', () => ({ aud: ['web-app', 'other-app'] })],
    ['several in aud and another in azp', () => ({ aud: ['web-app', 'other-app'], azp: 'other-app' })],
    ['ours not in aud', () => ({ aud: ['other-app', 'third-app'], azp: 'web-app' })],
    ['no sub', () => ({ sub: undefined })],
    ['an empty sub', () => ({ sub: '' })],
    ['a sub that is no text', () => ({ sub: 5 })],
    ['a sub that is too long', () => ({ sub: 'x'.repeat(256) })],
    ['no iat', () => ({ iat: undefined })],
    ['an iat that is no number', () => ({ iat: String(now()) })],
    ['no exp', () => ({ exp: undefined })],
    ['an exp that is no number', () => ({ exp: String(now() + 300) })],
    ['expired', () => ({ iat: now() - 600, exp: now() - 60 })],
    ['not to be used yet', () => ({ nbf: now() + 300 })],
    ['no nonce', () => ({ nonce: undefined })],
    ['another nonce', () => ({ nonce: 'another' })],
    ['an empty nonce', () => ({ nonce: '' })],
    ['a nonce that is no text', () => ({ nonce: ['n'] })],
  ])('%s: refused', async (_name, claims) => {
    await expectRefused((nonce) => signed(claims())(nonce));
  });

  test.each<[string, () => Record<string, unknown>]>([
    ['all of them right', () => ({})],
    ['ours alone in an aud that is a list', () => ({ aud: ['web-app'] })],
    ['several in aud and ours in azp', () => ({ aud: ['web-app', 'other-app'], azp: 'web-app' })],
    ['expired within clock tolerance', () => ({ iat: now() - 300, exp: now() - 20 })],
    ['issued by a clock that is ahead', () => ({ iat: now() + 20 })],
    ['claims nobody knows', () => ({ future: { a: [1] }, constructor: 'x' })],
  ])('%s: accepted', async (_name, claims) => {
    await expectAccepted((nonce) => signed(claims())(nonce));
  });

  test('a sub as long as it may be: accepted', async () => {
    forgeIdToken(provider, signed({ sub: 'x'.repeat(255) }));
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe(`signed in as ${'x'.repeat(255)}`);
  });

  test('a claim nested more deeply than can be written: left out of the session', async () => {
    const depth = 50_000;
    const deep = `{"deep":${'['.repeat(depth)}${']'.repeat(depth)},`;
    await expectAccepted(async (nonce) => {
      const [, claims] = (await signed({})(nonce)).split('.') as [string, string];
      const json = Buffer.from(claims, 'base64url').toString().replace('{', deep);
      const [jwk] = provider.keys as [JWK];
      return new CompactSign(text(json))
        .setProtectedHeader({ alg: 'RS256', kid: String(jwk.kid) })
        .sign(await importJWK(jwk, 'RS256'));
    });
    expect(app.logText()).toContain('{"dropped":["deep"]}');
  });

  test('max_age was asked: without auth_time, or with one long ago, refused', async () => {
    await expectRefused((nonce) => signed({ auth_time: undefined })(nonce), 400, '/recent');
  });

  test('max_age was asked, and the user was there long ago: refused', async () => {
    await expectRefused((nonce) => signed({ auth_time: now() - 600 })(nonce), 400, '/recent');
  });

  test('max_age was asked, and the user was there just now: accepted', async () => {
    await expectAccepted((nonce) => signed({ auth_time: now() - 10 })(nonce), '/recent');
    expect(provider.authorizations.at(-1)).toMatchObject({ max_age: '60' });
  });
});

describe('signature', () => {
  const broken = (jwt: string, part: number) =>
    jwt
      .split('.')
      .map((piece, index) => (index === part ? piece.split('').reverse().join('') : piece))
      .join('.');

  test.each<[string, (nonce: string) => unknown]>([
    ['not the provider’s key', (nonce) => signed({}, { key: foreignKey })(nonce)],
    ['alg none', (nonce) => signed({}, { alg: 'none' })(nonce)],
    [
      'alg none, its name in capitals',
      (nonce) => signed({}, { alg: 'none', header: { alg: 'NONE' } })(nonce),
    ],
    [
      'HS256 with the client secret',
      (nonce) => signed({}, { alg: 'HS256', key: text(provider.client.clientSecret) })(nonce),
    ],
    [
      'HS256 with the public key',
      (nonce) => signed({}, { alg: 'HS256', key: text(JSON.stringify(provider.keys[0]!.n)) })(nonce),
    ],
    ['ES256 by the provider, where RS256 is set', (nonce) => signed({}, { alg: 'ES256' })(nonce)],
    ['RS512 by the provider', (nonce) => signed({}, { alg: 'RS512' })(nonce)],
    ['a kid nobody has', (nonce) => signed({}, { kid: 'unknown' })(nonce)],
    ['a kid of another key', (nonce) => signed({}, { kid: provider.keys[1]!.kid! })(nonce)],
    ['changed claims', async (nonce) => broken(await signed({})(nonce), 1)],
    ['changed signature', async (nonce) => broken(await signed({})(nonce), 2)],
    ['no signature', async (nonce) => (await signed({})(nonce)).replace(/[^.]+$/, '')],
  ])('%s: refused', async (_name, forge) => {
    await expectRefused(forge);
  });

  test.each<[string, (nonce: string) => unknown, RegExp]>([
    ['the algorithm', (nonce) => signed({}, { alg: 'ES256' })(nonce), /unexpected JWT alg header/],
    ['a claim', (nonce) => signed({ auth_time: 'noon' })(nonce), /auth_time .*must be a number/],
    ['the audience', (nonce) => signed({ aud: 'another' })(nonce), /unexpected JWT aud /],
  ])('what is wrong is in the log, at a login and at a refresh: %s', async (_name, forge, words) => {
    const logged = app.logs.length;
    await expectRefused(forge);
    expect(app.logs.at(-1)?.details).toMatchObject({ cause: expect.stringMatching(words) });
    forgeIdToken(provider, forge);
    await browser.fetchJson(`${app.url}/token?force`);
    expect(app.logs.slice(logged).map(({ level }) => level)).toEqual(['warn', 'warn']);
    expect(app.logs.at(-1)?.details).toMatchObject({ detail: expect.stringMatching(words) });
  });

  test('no kid, one key or many: accepted', async () => {
    const noKid = { header: { kid: undefined } };
    await expectAccepted(signed({}, noKid));
    provider.tamper.jwks = ({ keys }) => ({ keys: keys.filter(({ kty }) => kty === 'RSA') });
    const fresh = await startApp({ provider });
    forgeIdToken(provider, signed({}, noKid));
    await browser.login(fresh);
    expect(await whoIs(browser, fresh)).toBe('signed in as alice');
    await fresh.close();
  });

  test('the algorithm that is set is the one', async () => {
    const ecApp = await startApp({ provider, auth: { idTokenSigningAlg: 'ES256' } });
    forgeIdToken(provider, signed({}, { alg: 'ES256' }));
    await browser.login(ecApp);
    expect(await whoIs(browser, ecApp)).toBe('signed in as alice');
    browser.cookies.clear();
    const page = await browser.login(ecApp);
    expect([page.status, await whoIs(browser, ecApp)]).toEqual([400, 'anonymous']);
    await ecApp.close();
  });

  test('new keys of the provider are found at the next login, and the old one is not believed', async () => {
    const rotating = await startProvider();
    const own = await startApp({ provider: rotating });
    const signIn = async () => {
      const fresh = new Browser();
      await fresh.login(own);
      fresh.close();
      return whoIs(fresh, own);
    };
    expect(await signIn()).toBe('signed in as alice');
    const old = rotating.keys[0]!;
    for (const keepOld of [false, true]) {
      await rotating.rotateKeys({ keepOld });
      expect(await signIn()).toBe('signed in as alice');
    }
    forgeIdToken(rotating, sign(rotating, {}, { key: old, kid: old.kid! }));
    expect(await signIn()).toBe('anonymous');
    await own.close();
    await rotating.close();
  });
});

test.each<[string, unknown]>([
  ['none at all', undefined],
  ['an empty one', ''],
  ['a number', 5],
  ['text', 'junk'],
  ['dots', '..'],
  ['an encrypted one', 'eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA'],
  ['null claims', `${Buffer.from('{"alg":"RS256"}').toString('base64url')}.bnVsbA.AAAA`],
])('an ID token that is none (%s): refused', async (_name, idToken) => {
  // Not by `expectSafe`: these would count as secrets from here on.
  const careless = await startProvider();
  const own = await startApp({ provider: careless });
  forgeIdToken(careless, () => idToken);
  const page = await browser.login(own);
  expect([page.status, await whoIs(browser, own)]).toEqual([400, 'anonymous']);
  expect(page.text).toContain('Sign in again');
  await own.close();
  await careless.close();
});

describe('in the answer to a refresh', () => {
  test.each<[string, () => unknown]>([
    ['iss of another provider', () => signed({ iss: EVIL })('')],
    ['aud of another client', () => signed({ aud: 'other-app' })('')],
    ['not the provider’s key', () => signed({}, { key: foreignKey })('')],
    ['HS256', () => signed({}, { alg: 'HS256', key: text(provider.client.clientSecret) })('')],
    ['alg none', () => signed({}, { alg: 'none' })('')],
    ['junk', () => 'junk'],
  ])('%s: an error, nothing of it cached, and alive', async (_name, forge) => {
    await browser.login(app);
    const before = await browser.fetchJson(`${app.url}/token`);
    forgeIdToken(provider, forge);
    const refused = await browser.fetchJson(`${app.url}/silent?force`);
    expect(refused.json).toMatchObject({ name: 'TokenEndpointError', status: 502 });
    const after = await browser.fetchJson(`${app.url}/token`);
    expect(after.json).toEqual(before.json);
    expect((await browser.fetchJson(`${app.url}/token?force`)).json).toMatchObject({ source: 'provider' });
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });
});
