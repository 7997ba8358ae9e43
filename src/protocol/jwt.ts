import {
  compactVerify,
  decodeProtectedHeader,
  importJWK,
  type JWK,
  type ProtectedHeaderParameters,
} from 'jose';
import { isRecord } from '../core/cache-codec.ts';
import type { Fetch } from './fetch.ts';

/** A JWT that must not be believed. The message says why, without the token. */
export class InvalidJwtError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'InvalidJwtError';
  }
}

export type JwtHeader = ProtectedHeaderParameters;

/** The provider's keys cannot be had, so nothing can be said about the JWT. */
export class KeysUnavailableError extends Error {
  constructor(cause: unknown) {
    super('The keys of the provider cannot be had', { cause });
    this.name = 'KeysUnavailableError';
  }
}

/** HMAC and `none` are never among them: whoever knows the client secret could sign. */
export const ASYMMETRIC_ALGORITHMS: readonly string[] = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

const MAX_KEYS = 100;
const MAX_AGE_SECONDS = 600;
const COOLDOWN_SECONDS = 30;
const FETCH_TIMEOUT_MS = 5000;

interface KeySetSources {
  readonly fetch: Fetch;
  readonly jwksUri: () => Promise<string>;
  readonly now: () => number;
}

/**
 * The provider's signing keys: cached, fetched again for an unknown `kid`, kept when the provider is down.
 *
 * A refetch that does not bring the wanted key is followed by a cooldown, so that made-up key ids cost the
 * provider nothing.
 */
export class KeySet {
  readonly #sources: KeySetSources;
  #keys: JWK[] | undefined;
  #fetchedAt = 0;
  #cooldownUntil = 0;
  #fetching: Promise<void> | undefined;
  #generation = 0;

  constructor(sources: KeySetSources) {
    this.#sources = sources;
  }

  /** Another number after each fetch: what was verified before it may not be any more. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * The payload of a compact JWS, verified by the algorithms allowed.
   *
   * @throws {InvalidJwtError} when it is not signed by one of the provider's keys.
   * @throws {KeysUnavailableError} when the keys cannot be fetched and none of the cached ones fits.
   */
  async verify(
    jwt: string,
    algorithms: readonly string[],
    header: JwtHeader | undefined = headerOf(jwt),
  ): Promise<Uint8Array> {
    if (header === undefined) throw new InvalidJwtError('It is not a signed JWT');
    const alg = String(header.alg);
    const kid = typeof header.kid === 'string' ? header.kid : undefined;
    if (!algorithms.includes(alg)) {
      throw new InvalidJwtError(
        `It is signed with ${JSON.stringify(alg.slice(0, 20))}, not with ${algorithms.join(' or ')}`,
      );
    }
    if (this.#isStale()) await this.#refreshKeys();
    const payload = await this.#verifyWithCached(jwt, alg, kid);
    if (payload !== undefined) return payload;
    const cooldown = this.#cooldownUntil - this.#sources.now();
    // A longer one is none: the clock was set back.
    if (cooldown > 0 && cooldown <= COOLDOWN_SECONDS)
      throw new InvalidJwtError('No key of the provider verifies its signature');
    await this.#fetchKeys();
    const late = await this.#verifyWithCached(jwt, alg, kid);
    if (late !== undefined) return late;
    this.#cooldownUntil = this.#sources.now() + COOLDOWN_SECONDS;
    throw new InvalidJwtError('No key of the provider verifies its signature');
  }

  #isStale(): boolean {
    return this.#keys === undefined || this.#sources.now() - this.#fetchedAt >= MAX_AGE_SECONDS;
  }

  /** Keys that were good stay good while the provider is down. */
  async #refreshKeys(): Promise<void> {
    try {
      await this.#fetchKeys();
    } catch (error) {
      if (this.#keys === undefined) throw error;
      this.#fetchedAt = this.#sources.now();
    }
  }

  async #verifyWithCached(
    jwt: string,
    alg: string,
    kid: string | undefined,
  ): Promise<Uint8Array | undefined> {
    for (const jwk of candidates(this.#keys ?? [], alg, kid)) {
      const payload = await verifiedPayload(jwt, jwk, alg);
      if (payload !== undefined) return payload;
    }
    return undefined;
  }

  async #fetchKeys(): Promise<void> {
    const fetching = this.#fetching ?? this.#fetchOnce();
    this.#fetching = fetching;
    try {
      await fetching;
    } finally {
      if (this.#fetching === fetching) this.#fetching = undefined;
    }
  }

  async #fetchOnce(): Promise<void> {
    try {
      const uri = await this.#sources.jwksUri();
      const response = await this.#sources.fetch(uri, {
        headers: { accept: 'application/json, application/jwk-set+json' },
        signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
      });
      if (response.status !== 200) throw new Error(`The keys endpoint answered ${response.status}`);
      this.#keys = usableKeys(await response.json());
      this.#fetchedAt = this.#sources.now();
      this.#generation += 1;
    } catch (cause) {
      throw new KeysUnavailableError(cause);
    }
  }
}

/** The protected header of a JWT; undefined for anything else. */
export function headerOf(jwt: string): JwtHeader | undefined {
  try {
    return decodeProtectedHeader(jwt);
  } catch {
    return undefined;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** The claims in the payload of a JWS. */
export function claimsOf(payload: Uint8Array): Record<string, unknown> {
  try {
    const claims: unknown = JSON.parse(utf8.decode(payload));
    if (isRecord(claims)) return claims;
  } catch (cause) {
    throw new InvalidJwtError('Its claims cannot be read', cause);
  }
  throw new InvalidJwtError('Its claims are not a JSON object');
}

/** Public keys for signatures; a broken or foreign entry does not spoil the set. */
function usableKeys(document: unknown): JWK[] {
  const keys: unknown = (document as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys)) throw new Error('The keys endpoint did not answer with a JWK set');
  return keys.slice(0, MAX_KEYS).filter(isUsableKey).map(publicPart);
}

function isUsableKey(key: unknown): key is JWK {
  if (typeof key !== 'object' || key === null) return false;
  const { kty, use, key_ops: operations } = key as Record<string, unknown>;
  if (kty !== 'RSA' && kty !== 'EC' && kty !== 'OKP') return false;
  if ((use ?? 'sig') !== 'sig') return false;
  return operations == null || (Array.isArray(operations) && operations.includes('verify'));
}

function publicPart(key: JWK): JWK {
  const { kty, kid, alg, n, e, crv, x, y } = key;
  const fields = Object.entries({ kty, kid, alg, n, e, crv, x, y }).filter(
    ([, value]) => typeof value === 'string',
  );
  return Object.fromEntries(fields) as unknown as JWK;
}

function candidates(keys: JWK[], alg: string, kid: string | undefined): JWK[] {
  return keys.filter((key) => keyTypeOf(alg) === key.kty && (key.alg ?? alg) === alg && isUnder(kid, key));
}

/** Either may leave the id out (RFC 7515 §4.1.4, RFC 7517 §4.5); the signature then decides. */
function isUnder(kid: string | undefined, key: JWK): boolean {
  return kid === undefined || key.kid === undefined || key.kid === kid;
}

function keyTypeOf(alg: string): string {
  if (alg.startsWith('RS') || alg.startsWith('PS')) return 'RSA';
  return alg.startsWith('ES') ? 'EC' : 'OKP';
}

async function verifiedPayload(jwt: string, jwk: JWK, alg: string): Promise<Uint8Array | undefined> {
  try {
    const key = importedKeys.get(jwk)?.get(alg) ?? (await importKey(jwk, alg));
    return (await compactVerify(jwt, key, { algorithms: [alg] })).payload;
  } catch {
    // A key that cannot be read and a signature that does not match say the same: not by this key.
    return undefined;
  }
}

type ImportedKey = Awaited<ReturnType<typeof importJWK>>;

const importedKeys = new WeakMap<JWK, Map<string, ImportedKey>>();

/** Importing a key costs as much as verifying a signature. A key goes with the set that it came in. */
async function importKey(jwk: JWK, alg: string): Promise<ImportedKey> {
  const key = await importJWK(jwk, alg);
  const byAlgorithm = importedKeys.get(jwk) ?? new Map<string, ImportedKey>();
  importedKeys.set(jwk, byAlgorithm.set(alg, key));
  return key;
}
