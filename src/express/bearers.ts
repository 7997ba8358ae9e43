import type { Clock } from '../core/ports.ts';
import { Provider } from '../protocol/provider.ts';
import { boundedCache } from '../storage/bounded-cache.ts';
import { BearerValidation } from '../tokens/validate-bearer.ts';
import type { Settings } from './settings.ts';

const MAX_VERIFIED = 10_000;
const MAX_PROOFS = 100_000;
const MAX_ISSUERS = 20;

/** The validation of access tokens, one for each issuer that the app's routes trust. */
export class Bearers {
  readonly #settings: Settings;
  readonly #clock: Clock;
  readonly #validations = new Map<string, BearerValidation>();

  constructor(settings: Settings, clock: Clock, provider: Provider) {
    this.#settings = settings;
    this.#clock = clock;
    this.#validations.set(settings.issuer.href, this.#validation(provider, true));
  }

  /** @param issuer default: the app's own. */
  of(issuer: URL | undefined): BearerValidation {
    const settings = issuer === undefined ? this.#settings : { ...this.#settings, issuer };
    const known = this.#validations.get(settings.issuer.href);
    if (known !== undefined) return known;
    if (this.#validations.size >= MAX_ISSUERS)
      throw new TypeError(`requiresBearer() takes at most ${MAX_ISSUERS} issuers in one app`);
    const validation = this.#validation(new Provider(settings, this.#clock, settings.logger), false);
    this.#validations.set(settings.issuer.href, validation);
    return validation;
  }

  #validation(provider: Provider, introspects: boolean): BearerValidation {
    const caches = {
      verified: boundedCache<never>(MAX_VERIFIED),
      proofs: boundedCache<{ until: number }>(MAX_PROOFS),
    };
    const { callerTimeoutMs } = this.#settings;
    return new BearerValidation({ provider, introspects, callerTimeoutMs, clock: this.#clock, ...caches });
  }
}
