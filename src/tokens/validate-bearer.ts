import { createHash } from 'node:crypto';
import { type BearerDemands, type BearerRefusal, bindingOf, refuseClaims } from '../core/bearer-token.ts';
import { ConfigurationError, ProviderUnavailableError } from '../core/errors.ts';
import type { BoundedCache, Clock } from '../core/ports.ts';
import { introspect, jwtHeaderOf, verifyAccessToken, verifyDpopProof } from '../protocol/access-token.ts';
import { InvalidJwtError } from '../protocol/jwt.ts';
import type { Connection, Provider } from '../protocol/provider.ts';

/** How an API was called. */
export interface BearerCall {
  readonly scheme: 'bearer' | 'dpop';
  readonly token: string;
  readonly method: string;
  /** The URL of the request without query and fragment, as its caller sees it. */
  readonly url: () => string;
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

/** Validates access tokens that an API is called with (RFC 9068 §4, RFC 7662, RFC 9449 §7). */
export class BearerValidation {
  readonly #parts: BearerParts;

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
      if (error instanceof InvalidJwtError) return { refusal: refused(error.message) };
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
    verified.set(token, { claims: Object.freeze(claims), until: clock.now() + seconds, generation });
    return claims;
  }

  async #introspect(connection: Connection, token: string): Promise<Record<string, unknown>> {
    const { server } = connection;
    if (!this.#parts.introspects || server.introspection_endpoint === undefined)
      throw new InvalidJwtError('It is not a JWT');
    const claims = await introspect(connection, token);
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
      return call.scheme === 'dpop' ? refused('It is not bound to a DPoP key') : undefined;
    if (binding.kind === 'other') return refused('It is bound in a way that this API cannot check');
    if (call.scheme !== 'dpop' || call.dpopProof === undefined)
      return refused('It is bound to a DPoP key and came without its proof');
    const proof = await verifyDpopProof(call.dpopProof);
    const { htm, htu, ath, iat, jti } = proof.claims;
    if (proof.thumbprint !== binding.thumbprint) return refused('The DPoP proof is by another key');
    if (htm !== call.method || withoutQuery(htu) !== call.url())
      return refused('The DPoP proof is for another request');
    if (ath !== createHash('sha256').update(call.token).digest('base64url'))
      return refused('The DPoP proof is for another token');
    return this.#refuseProofTime(iat, jti);
  }

  #refuseProofTime(iat: unknown, jti: unknown): BearerRefusal | undefined {
    const { clock, proofs } = this.#parts;
    const now = clock.now();
    if (typeof iat !== 'number' || Math.abs(now - iat) > PROOF_SECONDS)
      return refused('The DPoP proof is not recent');
    if (typeof jti !== 'string' || jti === '' || jti.length > 256) return refused('The DPoP proof has no id');
    if ((proofs.get(jti)?.until ?? 0) > now) return refused('The DPoP proof was used already');
    proofs.set(jti, { until: now + 2 * PROOF_SECONDS });
    return undefined;
  }
}

function withoutQuery(url: unknown): string | undefined {
  if (typeof url !== 'string' || !URL.canParse(url)) return undefined;
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

function refused(description: string): BearerRefusal {
  return { status: 401, error: 'invalid_token', description };
}
