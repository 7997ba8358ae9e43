import { createHash, randomUUID } from 'node:crypto';
import { beforeAll, expect, test } from '@jest/globals';
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { now } from '../support/time.ts';
import { ApiStage, call, jsonErrors } from './api-stage.ts';

const stage = new ApiStage();

interface Key {
  privateKey: CryptoKey;
  jwk: JWK;
  thumbprint: string;
}

let own: Key;
let other: Key;

async function newKey(): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const jwk = await exportJWK(publicKey);
  return { privateKey, jwk, thumbprint: await calculateJwkThumbprint(jwk) };
}

beforeAll(async () => {
  [own, other] = await Promise.all([newKey(), newKey()]);
});

interface ProofOptions {
  claims?: Record<string, unknown>;
  header?: Record<string, unknown>;
  key?: Key;
}

/** A DPoP proof for GET /me with this token, right unless the options say otherwise. */
async function proof(appUrl: string, token: string, { claims, header, key = own }: ProofOptions = {}) {
  const ath = createHash('sha256').update(token).digest('base64url');
  const right = { htm: 'GET', htu: `${appUrl}/me`, iat: now(), jti: randomUUID(), ath };
  return new SignJWT({ ...right, ...claims })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk, ...header })
    .sign(key.privateKey);
}

async function start() {
  const app = await stage.api();
  const token = await stage.token({ cnf: { jkt: own.thumbprint } });
  const send = (dpop: string | undefined, scheme = 'DPoP', path = '/me') =>
    call(`${app.url}${path}`, `${scheme} ${token}`, dpop === undefined ? {} : { headers: { dpop } });
  return { app, token, send };
}

test('a bound token with its proof is taken, in any case of the scheme and with a query', async () => {
  const { app, token, send } = await start();
  expect((await send(await proof(app.url, token))).status).toBe(200);
  expect((await send(await proof(app.url, token), 'dpop', '/me?x=1')).status).toBe(200);
  const withQuery = { claims: { htu: `${app.url.toUpperCase().replace('HTTP', 'http')}/me?y=2#z` } };
  expect((await send(await proof(app.url, token, withQuery))).status).toBe(200);
});

test('without a proof, or as a bearer token with one, it is refused', async () => {
  const { app, token, send } = await start();
  for (const answer of [await send(undefined), await send(await proof(app.url, token), 'Bearer')])
    expect(answer).toMatchObject({
      status: 401,
      challenge: expect.stringContaining('error="invalid_token"'),
    });
  for (const scheme of ['DPoP', 'Bearer'])
    expect((await send(undefined, scheme)).challenge).toMatch(/^DPoP .*algs="RS256 [^"]*ES256/);
});

test('an API that does not know its own URL says what is missing', async () => {
  const app = await stage.api((express) => express.use(jsonErrors), { baseUrl: undefined as never });
  const token = await stage.token({ cnf: { jkt: own.thumbprint } });
  const headers = { dpop: await proof(app.url, token) };
  const answer = await call(`${app.url}/me`, `DPoP ${token}`, { headers });
  expect(answer).toMatchObject({
    status: 500,
    json: { name: 'ConfigurationError', message: expect.stringContaining('OIDC_BASE_URL') },
  });
});

test('a token that is not bound is refused under the scheme DPoP', async () => {
  const { app } = await start();
  const token = await stage.token();
  const headers = { dpop: await proof(app.url, token) };
  expect((await call(`${app.url}/me`, `DPoP ${token}`, { headers })).status).toBe(401);
});

test.each<[string, (url: string) => ProofOptions]>([
  ['another method', () => ({ claims: { htm: 'POST' } })],
  ['the method in small letters', () => ({ claims: { htm: 'get' } })],
  ['no method', () => ({ claims: { htm: undefined } })],
  ['another path', (url) => ({ claims: { htu: `${url}/you` } })],
  ['another host', () => ({ claims: { htu: 'https://evil.example/me' } })],
  ['another scheme', (url) => ({ claims: { htu: `${url.replace('http', 'https')}/me` } })],
  ['a URL that is none', () => ({ claims: { htu: '/me' } })],
  ['no URL', () => ({ claims: { htu: undefined } })],
  ['another token', () => ({ claims: { ath: createHash('sha256').update('x').digest('base64url') } })],
  ['no token', () => ({ claims: { ath: undefined } })],
  ['an older time', () => ({ claims: { iat: now() - 61 } })],
  ['a later time', () => ({ claims: { iat: now() + 90 } })],
  ['no time', () => ({ claims: { iat: undefined } })],
  ['no id', () => ({ claims: { jti: undefined } })],
  ['an empty id', () => ({ claims: { jti: '' } })],
  ['an id of a kilobyte', () => ({ claims: { jti: 'x'.repeat(1024) } })],
  ['an id that is a number', () => ({ claims: { jti: 7 } })],
  ['another key', () => ({ key: other })],
  ['another key that shows ours', () => ({ key: { ...other, jwk: own.jwk } })],
  ['another type', () => ({ header: { typ: 'JWT' } })],
  ['no type', () => ({ header: { typ: undefined } })],
  ['no key', () => ({ header: { jwk: undefined } })],
])('a proof for or with %s is refused', async (_name, make) => {
  const { app, token, send } = await start();
  const answer = await send(await proof(app.url, token, make(app.url)));
  expect(answer.status).toBe(401);
  expect(answer.challenge).toMatch(/^DPoP error="invalid_dpop_proof"/);
  expect(answer.text.includes(token)).toBe(false);
});

test.each(['x', 'a.b.c', `${'e30'}..`])('a proof that is none (%s) is refused', async (text) => {
  const { send } = await start();
  expect((await send(text)).status).toBe(401);
});

test('a proof signed with a shared secret, or that shows the private key, is refused', async () => {
  const { app, token, send } = await start();
  const secret = { kty: 'oct', k: Buffer.from('x'.repeat(32)).toString('base64url') };
  const ath = createHash('sha256').update(token).digest('base64url');
  const symmetric = await new SignJWT({ htm: 'GET', htu: `${app.url}/me`, iat: now(), jti: 'a', ath })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'HS256', jwk: secret as JWK })
    .sign(Buffer.from('x'.repeat(32)));
  expect((await send(symmetric)).status).toBe(401);
  const shown = await exportJWK(own.privateKey);
  expect((await send(await proof(app.url, token, { header: { jwk: shown } }))).status).toBe(401);
});

test('a proof is good once, of 20 at the same time one; one that was refused is not used up', async () => {
  const { app, token, send } = await start();
  const once = await proof(app.url, token);
  const answers = await Promise.all(Array.from({ length: 20 }, () => send(once)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect((await send(once)).challenge).toContain('used already');
  const elsewhere = await proof(app.url, token);
  expect((await send(elsewhere, 'Bearer')).status).toBe(401);
  expect((await send(elsewhere)).status).toBe(200);
});

test('two proofs in one request are refused', async () => {
  const { app, token, send } = await start();
  const two = `${await proof(app.url, token)}, ${await proof(app.url, token)}`;
  expect((await send(two)).status).toBe(401);
});
