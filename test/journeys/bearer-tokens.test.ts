import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { requiresBearer } from 'express-oidc-tokens';
import { exportSPKI, generateKeyPair, importJWK } from 'jose';
import { type SignOptions, unsignedToken } from '../support/provider.ts';
import { now, travel } from '../support/time.ts';
import { API, ApiStage, call } from './api-stage.ts';
import { sendRaw } from './attacks-support.ts';

const stage = new ApiStage();

/** A token's claims and how it is signed. */
type Token = [claims?: Record<string, unknown>, options?: SignOptions];

/** RFC 6750 §3: values without quotes and backslashes. */
const CHALLENGE =
  /^(Bearer|DPoP) error="invalid_token", error_description="[\x20\x21\x23-\x5b\x5d-\x7e]+"(, algs="[^"]+")?$/;

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

async function publicKeyText(): Promise<Uint8Array> {
  const { d: _, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...jwk } = stage.provider.keys[0] ?? { kty: '' };
  return new TextEncoder().encode(
    await exportSPKI((await importJWK(jwk, 'RS256', { extractable: true })) as never),
  );
}

const NESTED = JSON.parse('['.repeat(3000) + ']'.repeat(3000));

test.each<[string, () => Token | Promise<Token>]>([
  ['RS256 with typ at+jwt', () => []],
  ['typ application/at+jwt', () => [{}, { header: { typ: 'application/at+jwt' } }]],
  ['typ JWT', () => [{}, { header: { typ: 'JWT' } }]],
  ['no typ', () => [{}, { header: { typ: undefined } }]],
  ['PS256', () => [{}, { alg: 'PS256' }]],
  ['ES256', () => [{}, { alg: 'ES256' }]],
  ['several audiences', () => [{ aud: ['https://other.example', API] }]],
  ['expired inside the tolerance', () => [{ exp: now() - 10 }]],
  ['nbf inside the tolerance', () => [{ nbf: now() + 10 }]],
  ['no subject', () => [{ sub: undefined }]],
  ['a nonce, where the claims say that it is an access token', () => [{ nonce: 'n', typ: 'Bearer' }]],
  ['token_use access_token', () => [{ typ: 'Bearer', token_use: 'access_token', token_type: 'Bearer' }]],
  ['token_use access, token_type access_token', () => [{ token_use: 'access', token_type: 'access_token' }]],
  ['claims of any depth', () => [{ deep: NESTED.flat(2990) }]],
])('accepts: %s', async (_name, make) => {
  const app = await stage.api();
  const answer = await call(`${app.url}/me`, await stage.token(...(await make())));
  expect(answer).toMatchObject({ status: 200, challenge: null });
  expect(answer.json).toMatchObject({ scopes: ['read'], issuer: stage.provider.issuer });
});

test.each<[string, () => Token | Promise<Token>]>([
  ['another audience', () => [{ aud: 'https://other.example' }]],
  ['the client as audience', () => [{ aud: 'web-api' }]],
  ['no audience', () => [{ aud: undefined }]],
  ['an audience with a slash more', () => [{ aud: `${API}/` }]],
  ['audiences in an array in an array', () => [{ aud: [[API]] }]],
  ['another issuer', () => [{ iss: 'https://evil.example' }]],
  ['the issuer with a slash more', () => [{ iss: `${stage.provider.issuer}/` }]],
  ['no issuer', () => [{ iss: undefined }]],
  ['typ logout+jwt', () => [{}, { header: { typ: 'logout+jwt' } }]],
  ['typ dpop+jwt', () => [{}, { header: { typ: 'dpop+jwt' } }]],
  ['typ that is a number', () => [{}, { header: { typ: 1 } }]],
  ['alg HS256 with the public key as PEM', async () => [{}, { alg: 'HS256', key: await publicKeyText() }]],
  [
    'alg HS256 with the client secret',
    () => [{}, { alg: 'HS256', key: new TextEncoder().encode(stage.provider.api.clientSecret) }],
  ],
  [
    'a key of someone else under a kid of the provider',
    async () => [{}, { key: (await generateKeyPair('RS256')).privateKey }],
  ],
  [
    'a key of someone else and no kid',
    async () => [{}, { key: (await generateKeyPair('RS256')).privateKey, header: { kid: undefined } }],
  ],
  [
    'a key of someone else, shown in the header',
    async () => {
      const { privateKey } = await generateKeyPair('RS256');
      const jwk = { kty: 'RSA', n: 'AQAB', e: 'AQAB' };
      return [{}, { key: privateKey, header: { jwk, jku: 'https://evil.example/jwks' } }];
    },
  ],
  ['an unknown kid', () => [{}, { kid: 'unknown' }]],
  ['the kid of the provider’s EC key', () => [{}, { kid: String(stage.provider.keys[1]?.kid) }]],
  ['a kid that is a path', () => [{}, { kid: '../../../dev/null' }]],
  ['expired', () => [{ exp: now() - 31 }]],
  ['an expiry as text', () => [{ exp: String(now() + 300) }]],
  ['no expiry', () => [{ exp: undefined }]],
  ['not valid yet', () => [{ nbf: now() + 60 }]],
  ['from the future', () => [{ iat: now() + 60 }]],
  ['an ID token (nonce)', () => [{ nonce: 'n' }]],
  ['an ID token (at_hash)', () => [{ at_hash: 'h' }]],
  ['a logout token (events)', () => [{ events: {} }]],
  ['typ Refresh among the claims', () => [{ typ: 'Refresh' }]],
  ['a refresh token by its token_use', () => [{ token_use: 'refresh_token' }]],
  ['a refresh token by its token_type', () => [{ token_type: 'refresh_token' }]],
  ['an ID token by its token_use', () => [{ token_use: 'id' }]],
  ['a subject that is an object', () => [{ sub: { name: 'alice' } }]],
  ['bound to a certificate', () => [{ cnf: { 'x5t#S256': 'x' } }]],
  ['bound to a DPoP key, without its proof', () => [{ cnf: { jkt: 'x' } }]],
  ['bound to nothing that makes sense', () => [{ cnf: null }]],
])('refuses: %s', async (_name, make) => {
  const app = await stage.api();
  const token = await stage.token(...(await make()));
  const answer = await call(`${app.url}/me`, token);
  expect(answer.status).toBe(401);
  expect(answer.challenge).toMatch(CHALLENGE);
  expectNoToken(app, answer, token);
});

function expectNoToken(
  app: { logText(): string },
  answer: { text: string; headers: Headers },
  token: string,
) {
  const output = `${answer.text} ${JSON.stringify([...answer.headers])} ${app.logText()}`;
  for (const part of [token, token.split('.').at(-1) as string]) {
    if (part.length > 20) expect(output.includes(part)).toBe(false);
  }
}

describe('refuses what is no JWT of the provider', () => {
  test.each<[string, (good: string) => string]>([
    [
      'alg none',
      () => unsignedToken({ iss: stage.provider.issuer, aud: API, exp: now() + 300 }, { typ: 'at+jwt' }),
    ],
    ['alg none with a signature', (good) => good.replace(/^[^.]+/, encode({ alg: 'none', typ: 'at+jwt' }))],
    ['alg NONE in other letters', (good) => good.replace(/^[^.]+/, encode({ alg: 'nOnE', typ: 'at+jwt' }))],
    [
      'other claims under the same signature',
      (good) => good.replace(/\.[^.]+\./, `.${encode({ sub: 'eve' })}.`),
    ],
    ['no signature', (good) => good.replace(/\.[^.]+$/, '.')],
    ['a cut signature', (good) => good.slice(0, -4)],
    ['four parts', (good) => `${good}.x`],
    ['five parts, as if encrypted', (good) => `${good}.x.y`],
    ['a header that is no JSON', (good) => good.replace(/^[^.]+/, 'AAAA')],
    ['a header that is an array', (good) => good.replace(/^[^.]+/, encode([]))],
    ['a header nested deeply', (good) => good.replace(/^[^.]+/, encode('['.repeat(3000)))],
    ['alg an object', (good) => good.replace(/^[^.]+/, encode({ alg: { x: 1 }, typ: 'at+jwt' }))],
    ['an alg of quotes', (good) => good.replace(/^[^.]+/, encode({ alg: '"\\"', typ: 'at+jwt' }))],
    [
      'a token in a token',
      (good) => `${encode({ alg: 'RS256', cty: 'JWT' })}.${encode(good)}.${encode('x')}`,
    ],
    ['random bytes', () => randomBytes(40).toString('base64url')],
  ])('%s', async (_name, make) => {
    const app = await stage.api();
    const token = make(await stage.token());
    const answer = await call(`${app.url}/me`, token);
    expect(answer.status).toBe(401);
    expect(answer.challenge).toMatch(CHALLENGE);
    expectNoToken(app, answer, token);
  });
});

test('claims that are signed and no JSON object are refused', async () => {
  const app = await stage.api();
  const { CompactSign } = await import('jose');
  const [jwk] = stage.provider.keys;
  const key = await importJWK(jwk ?? { kty: '' }, 'RS256');
  for (const payload of ['[]', '"x"', 'null', 'x', '']) {
    const sign = new CompactSign(new TextEncoder().encode(payload));
    const token = await sign
      .setProtectedHeader({ alg: 'RS256', kid: String(jwk?.kid), typ: 'at+jwt' })
      .sign(key);
    const answer = await call(`${app.url}/me`, token);
    expect([payload, answer.status]).toEqual([payload, 401]);
  }
});

describe('the header', () => {
  test('the scheme is read in any case, with more than one space', async () => {
    const app = await stage.api();
    const token = await stage.token();
    for (const header of [`bearer ${token}`, `BEARER   ${token}`])
      expect((await call(`${app.url}/me`, header)).status).toBe(200);
  });

  test.each([
    'Bearer a b',
    'Bearer a,b',
    'Bearer "a"',
    'Bearer a=b',
    'Bearer Bearer a',
    'DPoP a b',
    'Bearer é',
  ])('%s → 400 invalid_request', async (header) => {
    const app = await stage.api();
    const answer = await call(`${app.url}/me`, header);
    expect(answer.status).toBe(400);
    expect(answer.challenge).toBe(
      'Bearer error="invalid_request", error_description="The Authorization header is malformed"',
    );
  });

  test('two of them → 400, whichever is good', async () => {
    const app = await stage.api();
    const good = `Authorization: Bearer ${await stage.token()}`;
    const send = (...lines: string[]) =>
      sendRaw(app, ['GET /me HTTP/1.1', 'Host: api', 'Connection: close', ...lines, '', ''].join('\r\n'));
    expect((await send(good)).status).toBe(200);
    for (const pair of [
      [good, good],
      [good, 'Authorization: Bearer x'],
      ['authorization: Basic YTpi', good],
    ]) {
      const answer = await send(...pair);
      expect(answer).toMatchObject({
        status: 400,
        headers: { 'www-authenticate': expect.stringContaining('error="invalid_request"') },
      });
    }
  });

  test('none, or another scheme → 401 that names no error', async () => {
    const app = await stage.api();
    for (const header of [undefined, 'Basic YTpi', 'Negotiate abc=']) {
      const answer = await call(`${app.url}/me`, header);
      expect(answer).toMatchObject({ status: 401, challenge: 'Bearer' });
    }
  });

  test('a token in the query or in the body is not read', async () => {
    const app = await stage.api((express) => express.post('/post', requiresBearer({ audience: API })));
    const token = await stage.token();
    const query = await call(`${app.url}/me?access_token=${token}`);
    expect(query).toMatchObject({ status: 401, challenge: 'Bearer' });
    const body = new URLSearchParams({ access_token: token });
    expect(await call(`${app.url}/post`, undefined, { method: 'POST', body })).toMatchObject({
      status: 401,
      challenge: 'Bearer',
    });
  });

  test('a token of 15 KB is refused, one of a megabyte does not reach the app, and the next call works', async () => {
    const app = await stage.api();
    const big = await stage.token({ aud: 'other', filler: 'x'.repeat(11_000) });
    expect((await call(`${app.url}/me`, big)).status).toBe(401);
    const huge = await call(`${app.url}/me`, 'x'.repeat(1_048_576)).catch(() => ({ status: 431 }));
    expect(huge.status).toBe(431);
    expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
  });
});

test('a token that was good is refused from its expiry on', async () => {
  const app = await stage.api();
  const token = await stage.token({ exp: now() + 20 });
  expect((await call(`${app.url}/me`, token)).status).toBe(200);
  travel(51);
  expect((await call(`${app.url}/me`, token)).status).toBe(401);
});

test('a token that was good is refused as soon as it is known that its key is gone', async () => {
  const app = await stage.api();
  const token = await stage.token();
  expect((await call(`${app.url}/me`, token)).status).toBe(200);
  await stage.provider.rotateKeys();
  expect((await call(`${app.url}/me`, token)).status).toBe(200);
  // A token by the new key has the keys fetched again.
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
  expect((await call(`${app.url}/me`, token)).status).toBe(401);
});
