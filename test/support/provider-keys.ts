import { randomUUID } from 'node:crypto';
import {
  type CryptoKey,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
  type JWTHeaderParameters,
  SignJWT,
} from 'jose';

/** How to sign a hostile token: every part of it can be wrong. */
export interface SignOptions {
  /** Default `RS256`; `HS256` needs `key`; `none` gives an unsigned token. */
  alg?: string;
  /** Default: the provider's own key for `alg`; any other text is sent as it is. */
  kid?: string;
  /** Default: the provider's own private key for `alg`. */
  key?: CryptoKey | Uint8Array | JWK;
  /** More members of the header, e.g. `{ typ: 'logout+jwt' }`. */
  header?: Record<string, unknown>;
}

async function generate(alg: 'RS256' | 'ES256'): Promise<JWK> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  // RSA keys carry no `alg`: the provider then offers RS256 to PS512 with the same key, as many real ones do.
  return {
    ...(await exportJWK(privateKey)),
    use: 'sig',
    kid: randomUUID().slice(0, 8),
    ...(alg === 'ES256' ? { alg } : {}),
  };
}

/** A new set of private keys: one RSA, one P-256. */
export async function generateKeys(): Promise<JWK[]> {
  return Promise.all([generate('RS256'), generate('ES256')]);
}

let shared: Promise<JWK[]> | undefined;

/** The keys that all providers of one test file start with: making RSA keys is slow. */
export function sharedKeys(): Promise<JWK[]> {
  shared ??= generateKeys();
  return shared;
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** A token without a signature (`alg: none`). */
export function unsignedToken(claims: Record<string, unknown>, header: Record<string, unknown> = {}): string {
  return `${encode({ alg: 'none', ...header })}.${encode(claims)}.`;
}

/** Signs any claims with one of `keys`, or with whatever the options say instead. */
export async function signToken(
  keys: JWK[],
  claims: Record<string, unknown>,
  options: SignOptions = {},
): Promise<string> {
  const { alg = 'RS256', header } = options;
  if (alg === 'none') return unsignedToken(claims, header);
  const own = keys.find((key) => key.kty === (alg.startsWith('ES') ? 'EC' : 'RSA'));
  const key = options.key ?? own;
  if (!key || (alg.startsWith('HS') && !options.key)) throw new TypeError(`give a key to sign with ${alg}`);
  const kid = options.kid ?? own?.kid;
  const protectedHeader: JWTHeaderParameters = { alg, ...(kid ? { kid } : {}), ...header };
  const imported = 'kty' in key ? await importJWK(key, alg) : key;
  // jose refuses odd claims through its setters only, so they can be anything here.
  return new SignJWT(claims).setProtectedHeader(protectedHeader).sign(imported);
}
