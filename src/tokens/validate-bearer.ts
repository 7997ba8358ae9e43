import { createHash } from 'node:crypto';
import {
  type BearerDemands,
  type BearerRefusal,
  bindingOf,
  invalidToken,
  refuseClaims,
} from '../core/bearer-token.ts';
import { deepFreeze } from '../core/deep-freeze.ts';
import { ConfigurationError, ProviderUnavailableError } from '../core/errors.ts';
import type { BoundedCache, Clock } from '../core/ports.ts';
import {
  type DpopProof,
  introspect,
  jwtHeaderOf,
  verifyAccessToken,
  verifyDpopProof,
} from '../protocol/access-token.ts';
import { InvalidJwtError } from '../protocol/jwt.ts';
import type { Connection, Provider } from '../protocol/provider.ts';
import { Flights, isTimedOut, within } from './flights.ts';

/** How an API was called. */
export interface BearerCall {
  readonly scheme: 'bearer' | 'dpop';
  readonly token: string;
  readonly method: string;
  /** The URL of the request without query and fragment, as its caller sees it; undefined: nobody said. */
  readonly url: () => string | undefined;
  readonly dpopProof: string | undefined;
}

/** A token whose signature was verified, or that the provider said is active. */
interface Verified {
  readonly claims: Readonly<Record<string, unknown>>;
  /** Epoch seconds until which that need not be asked again. */
  readonly until: number;
  /** Which keys of the provider there were. */
  readonly generation: number;
}

export interface BearerParts {
  readonly provider: Provider;
  /** Whether this provider may see the app's client secret: opaque tokens are introspected there. */
  readonly introspects: boolean;
  /** How long a caller waits for the provider's word. */
  readonly callerTimeoutMs: number;
  readonly clock: Clock;
  /** By token: what was verified need not be verified again in the next seconds. */
  readonly verified: BoundedCache<Verified>;
  /** Ids of DPoP proofs that were used, against replay. */
  readonly proofs: BoundedCache<{ readonly until: number }>;
}

export type BearerResult =
  | { readonly claims: Readonly<Record<string, unknown>> }
  | { readonly refusal: BearerRefusal };

const VERIFIED_SECONDS = 60;
const INTROSPECTED_SECONDS = 10;
const PROOF_SECONDS = 60;
/** Ten thousand of them fit into 40 MB. Longer ones are verified each time. */
const MAX_REMEMBERED_LENGTH = 4096;

/** Validates access tokens that an API is called with (RFC 9068 §4, RFC 7662, RFC 9449 §7). */
export class BearerValidation {
  readonly #parts: BearerParts;
  readonly #introspections = new Flights<Record<string, unknown> | undefined>();

  constructor(parts: BearerParts) {
    this.#parts = parts;
  }

  /** @throws {ProviderUnavailableError} when the provider's keys or its word are needed and cannot be had. */
  async validate(call: BearerCall, demandsOf: (issuer: string) => BearerDemands): Promise<BearerResult> {
    const { provider, clock } = this.#parts;
    const connection = await provider.connect();
    const demands = demandsOf(connection.server.issuer);
    try {
      const claims = await this.#verify(connection, call.token);
      const refusal = refuseClaims(claims, demands, clock.now()) ?? (await this.#refuseBinding(call, claims));
      return refusal === undefined ? { claims } : { refusal };
    } catch (error) {
      if (error instanceof InvalidJwtError) return { refusal: invalidToken(error.message) };
      if (error instanceof ConfigurationError) throw error;
      throw new ProviderUnavailableError(
        'The provider cannot be asked about this access token.',
        undefined,
        error,
      );
    }
  }

  async #verify(connection: Connection, token: string): Promise<Readonly<Record<string, unknown>>> {
    const { verified, clock } = this.#parts;
    const { generation } = connection.keys;
    const known = verified.get(token);
    if (known !== undefined && clock.now() < known.until && known.generation === generation)
      return known.claims;
    const header = jwtHeaderOf(token);
    const claims =
      header === undefined
        ? await this.#introspect(connection, token)
        : await verifyAccessToken(connection, token, header);
    const seconds = header === undefined ? INTROSPECTED_SECONDS : VERIFIED_SECONDS;
    if (token.length <= MAX_REMEMBERED_LENGTH)
      verified.set(token, { claims: deepFreeze(claims), until: clock.now() + seconds, generation });
    return claims;
  }

  async #introspect(connection: Connection, token: string): Promise<Record<string, unknown>> {
    const { server } = connection;
    if (!this.#parts.introspects || server.introspection_endpoint === undefined)
      throw new InvalidJwtError('It is not a JWT');
    const asked = this.#introspections.join(token, () => introspect(connection, token));
    const claims = await within(asked, this.#parts.callerTimeoutMs);
    if (isTimedOut(claims)) throw new Error('the introspection took too long');
    if (claims === undefined) throw new InvalidJwtError('It is not active');
    // RFC 7662 §2.2: iss is optional in an answer that comes from the issuer itself.
    return { iss: server.issuer, ...claims };
  }

  /** A token that is bound to a key is no good without the proof that the caller has it. */
  async #refuseBinding(
    call: BearerCall,
    claims: Readonly<Record<string, unknown>>,
  ): Promise<BearerRefusal | undefined> {
    const binding = bindingOf(claims);
    if (binding.kind === 'none')
      return call.scheme === 'dpop' ? invalidToken('It is not bound to a DPoP key') : undefined;
    if (binding.kind === 'other') return invalidToken('It is bound in a way that this API cannot check');
    if (call.scheme !== 'dpop' || call.dpopProof === undefined)
      return { ...invalidToken('It is bound to a DPoP key and came without its proof'), needsProof: true };
    return this.#refuseProof(call, call.dpopProof, binding.thumbprint);
  }

  async #refuseProof(call: BearerCall, text: string, thumbprint: string): Promise<BearerRefusal | undefined> {
    const proof = await readProof(text);
    if (typeof proof === 'string') return badProof(proof);
    const { htm, htu, ath, iat, jti } = proof.claims;
    if (proof.thumbprint !== thumbprint) return badProof('The DPoP proof is by another key');
    if (ath !== createHash('sha256').update(call.token).digest('base64url'))
      return badProof('The DPoP proof is for another token');
    const url = call.url();
    if (url === undefined) {
      throw new ConfigurationError(
        'A DPoP proof names the URL of this API: pass auth({ baseUrl }) or set OIDC_BASE_URL.',
      );
    }
    if (htm !== call.method || withoutQuery(htu) !== url)
      return badProof('The DPoP proof is for another request');
    return this.#refuseProofTime(iat, jti);
  }

  #refuseProofTime(iat: unknown, jti: unknown): BearerRefusal | undefined {
    const { clock, proofs } = this.#parts;
    const now = clock.now();
    if (typeof iat !== 'number' || Math.abs(now - iat) > PROOF_SECONDS)
      return badProof('The DPoP proof is not recent');
    if (typeof jti !== 'string' || jti === '' || jti.length > 256)
      return badProof('The DPoP proof has no id');
    if ((proofs.get(jti)?.until ?? 0) > now) return badProof('The DPoP proof was used already');
    proofs.set(jti, { until: now + 2 * PROOF_SECONDS });
    return undefined;
  }
}

function withoutQuery(url: unknown): string | undefined {
  if (typeof url !== 'string' || !URL.canParse(url)) return undefined;
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

/** The proof, or what is wrong with it. */
async function readProof(text: string): Promise<DpopProof | string> {
  try {
    return await verifyDpopProof(text);
  } catch (error) {
    if (error instanceof InvalidJwtError) return error.message;
    throw error;
  }
}

function badProof(description: string): BearerRefusal {
  return { status: 401, error: 'invalid_dpop_proof', description, needsProof: true };
}
