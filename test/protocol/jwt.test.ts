import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { JWK } from 'jose';
import { InvalidJwtError, KeySet, KeysUnavailableError } from '../../src/protocol/jwt.ts';
import { fc } from '../support/properties.ts';
import { generateKeys, signToken, unsignedToken } from '../support/provider-keys.ts';

let rsa: JWK;
let ec: JWK;
let otherRsa: JWK;
let now = 1000;
let fetched: string[] = [];
/** What the keys endpoint answers next; `undefined`: nothing. */
let answer: (() => Response | Promise<Response>) | undefined;
let keys: KeySet;

const publicOf = ({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...key }: JWK): JWK => key;
const serve = (...served: unknown[]) => {
  answer = () => Response.json({ keys: served });
};
const verify = (jwt: string, algorithms = ['RS256']) => keys.verify(jwt, algorithms);
const signedBy = (key: JWK, header: { alg?: string; kid?: string } = {}) =>
  signToken([key], { sub: 'alice' }, { key, kid: key.kid!, ...header });
/** jose leaves no way to sign without a `kid` through our helper, so the header is set by hand. */
const withoutKid = (key: JWK, header: object = {}, alg = 'RS256') =>
  signToken([key], { sub: 'alice' }, { key, alg, header: { kid: undefined, ...header } });

beforeAll(async () => {
  [rsa, ec] = (await generateKeys()) as [JWK, JWK];
  [otherRsa] = (await generateKeys()) as [JWK, JWK];
});

beforeEach(() => {
  now = 1000;
  fetched = [];
  serve(publicOf(rsa), publicOf(ec));
  keys = new KeySet({
    now: () => now,
    jwksUri: async () => 'https://op.example/jwks',
    fetch: async (url) => {
      fetched.push(url);
      if (answer === undefined) throw new TypeError('fetch failed');
      return answer();
    },
  });
});

describe('the keys are fetched once', () => {
  test('for many tokens, also at the same moment, and again after ten minutes', async () => {
    const jwt = await signedBy(rsa);
    await Promise.all(Array.from({ length: 10 }, () => verify(jwt)));
    await verify(await signedBy(ec, { alg: 'ES256' }), ['ES256']);
    now += 599;
    await verify(jwt);
    expect(fetched).toEqual(['https://op.example/jwks']);
    now += 1;
    await Promise.all([verify(jwt), verify(jwt)]);
    expect(fetched).toHaveLength(2);
  });

  test('a key that the provider has taken back is not believed after that', async () => {
    const jwt = await signedBy(rsa);
    await verify(jwt);
    serve(publicOf(otherRsa));
    now += 600;
    await expect(verify(jwt)).rejects.toThrow(InvalidJwtError);
  });

  test('A39: while the provider is down, the keys that were good stay good', async () => {
    const jwt = await signedBy(rsa);
    await verify(jwt);
    answer = undefined;
    now += 100_000;
    for (let count = 0; count < 5; count += 1) await verify(jwt);
    expect(fetched).toHaveLength(2);
    await expect(verify(await signedBy(otherRsa))).rejects.toThrow(KeysUnavailableError);
    serve(publicOf(otherRsa));
    await verify(await signedBy(otherRsa));
  });

  test('A39: nothing is remembered of a fetch that failed', async () => {
    answer = undefined;
    const jwt = await signedBy(rsa);
    await expect(verify(jwt)).rejects.toThrow(KeysUnavailableError);
    serve(publicOf(rsa));
    await verify(jwt);
    expect(fetched).toHaveLength(2);
  });
});

describe('an unknown kid', () => {
  test('key rotation: fetched again at once, as often as it helps', async () => {
    await verify(await signedBy(rsa));
    for (let round = 0; round < 3; round += 1) {
      const rotated = { ...(round % 2 ? rsa : otherRsa), kid: `round-${round}` };
      serve(publicOf(rotated));
      await verify(await signedBy(rotated));
    }
    expect(fetched).toHaveLength(4);
  });

  test('made-up ones cost the provider one request in 30 s, and the good ones stay good', async () => {
    await verify(await signedBy(rsa));
    const madeUp = (kid: string) => signedBy(otherRsa, { kid });
    for (let count = 0; count < 20; count += 1)
      await expect(verify(await madeUp(`made-up-${count}`))).rejects.toThrow(InvalidJwtError);
    expect(fetched).toHaveLength(2);
    await verify(await signedBy(rsa));
    now += 29.9;
    await expect(verify(await madeUp('again'))).rejects.toThrow(InvalidJwtError);
    expect(fetched).toHaveLength(2);
    now += 0.1;
    serve(publicOf(otherRsa));
    await verify(await signedBy(otherRsa));
    expect(fetched).toHaveLength(3);
  });
});

describe('no kid', () => {
  test('one key: that one', async () => {
    serve(publicOf(rsa));
    await verify(await withoutKid(rsa));
  });

  test('several keys: any that fits', async () => {
    serve(publicOf(otherRsa), publicOf(ec), publicOf(rsa));
    await verify(await withoutKid(rsa));
    await verify(await withoutKid(ec, {}, 'ES256'), ['ES256']);
  });

  test.each([undefined, null])('in the key set (%p), but in the JWT: any that fits', async (kid) => {
    serve({ ...publicOf(ec), kid }, { ...publicOf(rsa), kid });
    await verify(await signedBy(rsa));
    await expect(verify(await signedBy(otherRsa))).rejects.toThrow(InvalidJwtError);
  });

  test('none that fits: not believed', async () => {
    serve(publicOf(ec), publicOf(rsa));
    await expect(verify(await withoutKid(otherRsa))).rejects.toThrow(InvalidJwtError);
  });
});

describe('a key set with junk in it', () => {
  const junk = [
    null,
    5,
    'key',
    [],
    {},
    { kty: 'oct', k: 'c2VjcmV0', kid: 'symmetric' },
    { kty: 'RSA', kid: 'broken', n: '!', e: 'AQAB' },
    { kty: 'EC', crv: 'P-1', x: 'x', y: 'y' },
    { kty: 'future', kid: 'x' },
    { kty: 'RSA', n: 5, e: {}, key_ops: 'verify' },
  ];

  test('does its work all the same', async () => {
    serve(...junk, publicOf(rsa), ...junk);
    await verify(await signedBy(rsa));
    await verify(await withoutKid(rsa));
  });

  test('a broken key under the same kid is passed over', async () => {
    serve({ kty: 'RSA', kid: rsa.kid, n: '!', e: 'AQAB' }, publicOf(rsa));
    await verify(await signedBy(rsa));
  });

  test('a private key that got there works as a public one', async () => {
    serve(rsa);
    await verify(await signedBy(rsa));
  });

  test.each<[string, () => Response]>([
    ['500', () => new Response('', { status: 500 })],
    ['404 with keys', () => Response.json({ keys: [publicOf(rsa)] }, { status: 404 })],
    ['a redirect', () => new Response(null, { status: 302, headers: { location: 'https://evil.example' } })],
    ['HTML', () => new Response('<html>')],
    ['null', () => Response.json(null)],
    ['no keys', () => Response.json({})],
    ['keys that are no list', () => Response.json({ keys: { 0: publicOf(rsa) } })],
  ])('%s: the keys cannot be had', async (_name, broken) => {
    answer = broken;
    await expect(verify(await signedBy(rsa))).rejects.toThrow(KeysUnavailableError);
  });
});

describe('a key for another use is not used', () => {
  test.each<[string, object, boolean]>([
    ['use enc', { use: 'enc' }, false],
    ['use sig', { use: 'sig' }, true],
    ['no use', { use: undefined }, true],
    ['null', { use: null, key_ops: null, alg: null, x5c: null }, true],
    ['key_ops sign', { key_ops: ['sign'] }, false],
    ['key_ops verify', { key_ops: ['sign', 'verify'] }, true],
    ['alg of another', { alg: 'RS512' }, false],
    ['alg of encryption', { alg: 'RSA-OAEP' }, false],
    ['its alg', { alg: 'RS256' }, true],
  ])('%s', async (_name, fields, isUsed) => {
    serve({ ...publicOf(rsa), ...fields });
    const verified = verify(await signedBy(rsa));
    if (isUsed) await verified;
    else await expect(verified).rejects.toThrow(InvalidJwtError);
  });

  test('an RSA key of 1024 bits', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1024 });
    serve({ ...publicKey.export({ format: 'jwk' }), kid: 'weak' });
    const text = unsignedToken({ sub: 'alice' }, { alg: 'RS256', kid: 'weak' }).slice(0, -1);
    const signature = sign('sha256', Buffer.from(text), privateKey).toString('base64url');
    await expect(verify(`${text}.${signature}`)).rejects.toThrow(InvalidJwtError);
  });
});

describe('a forged token', () => {
  const publicTexts = () => {
    const key = createPublicKey({ key: publicOf(rsa), format: 'jwk' } as never);
    const pem = key.export({ format: 'pem', type: 'spki' }).toString();
    return [pem, pem.trim(), key.export({ format: 'der', type: 'spki' }), Buffer.from(rsa.n!, 'base64url')];
  };

  test('HS256 with the public key as the secret', async () => {
    for (const text of publicTexts()) {
      const secret = new Uint8Array(Buffer.from(text as string));
      const forged = await signToken([rsa], { sub: 'alice' }, { alg: 'HS256', key: secret, kid: rsa.kid! });
      await expect(verify(forged)).rejects.toThrow('It is signed with "HS256", not with RS256');
    }
    expect(fetched).toEqual([]);
  });

  test.each(['none', 'None', 'NONE', '', undefined, null, 5, ['RS256']])('alg %p', async (alg) => {
    await expect(verify(unsignedToken({ sub: 'alice' }, { alg, kid: rsa.kid }))).rejects.toThrow(
      InvalidJwtError,
    );
  });

  test('another algorithm of the same key, or of another key of the provider', async () => {
    for (const [key, alg] of [
      [rsa, 'RS512'],
      [rsa, 'PS256'],
      [ec, 'ES256'],
    ] as const)
      await expect(verify(await signedBy(key, { alg }))).rejects.toThrow(InvalidJwtError);
  });

  test('one key of the provider under the kid of another', async () => {
    serve(publicOf(rsa), { ...publicOf(otherRsa), kid: 'other' });
    await verify(await signedBy(otherRsa, { kid: 'other' }));
    await expect(verify(await signedBy(otherRsa, { kid: rsa.kid! }))).rejects.toThrow(InvalidJwtError);
  });

  test('another key under the provider’s kid; an own key in the header', async () => {
    await expect(verify(await signedBy(otherRsa, { kid: rsa.kid! }))).rejects.toThrow(InvalidJwtError);
    const own = {
      jwk: publicOf(otherRsa),
      jku: 'https://evil.example/jwks',
      x5u: 'https://evil.example/x5u',
    };
    await expect(verify(await withoutKid(otherRsa, own))).rejects.toThrow(InvalidJwtError);
    expect(new Set(fetched)).toEqual(new Set(['https://op.example/jwks']));
  });

  test('each part changed', async () => {
    const parts = (await signedBy(rsa)).split('.');
    for (const index of [0, 1, 2]) {
      const bytes = Buffer.from(parts[index]!, 'base64url');
      bytes[bytes.length >> 1]! ^= 1;
      const forged = parts.with(index, bytes.toString('base64url')).join('.');
      await expect(verify(forged)).rejects.toThrow(InvalidJwtError);
    }
    await expect(verify(`${parts[0]}.${parts[1]}.`)).rejects.toThrow(InvalidJwtError);
  });

  test('an extension that must be understood and is not', async () => {
    const jwt = await signToken([rsa], {}, { key: rsa, kid: rsa.kid! }).then((token) => token.split('.'));
    const header = { alg: 'RS256', kid: rsa.kid, crit: ['evil'], evil: true };
    const text = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${jwt[1]}`;
    const key = { key: rsa, format: 'jwk' } as never;
    const signature = sign('sha256', Buffer.from(text), key).toString('base64url');
    await expect(verify(`${text}.${signature}`)).rejects.toThrow(InvalidJwtError);
  });

  test('any text, and its error does not quote it', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string().map((part) => `${part}.${part}.${part}`),
    );
    await fc.assert(
      fc.asyncProperty(text, async (jwt) => {
        const error: unknown = await verify(jwt).catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(InvalidJwtError);
        expect((error as Error).message).toBe('It is not a signed JWT');
      }),
    );
    expect(fetched).toEqual([]);
  });
});
