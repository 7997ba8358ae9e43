import { ProviderUnavailableError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';

/** The time before which the provider does not want to be asked for tokens (429 or 503 with `Retry-After`). */
export class ProviderPatience {
  readonly #clock: Clock;
  readonly #capSeconds: number;
  #notBefore = 0;

  constructor(clock: Clock, capMs: number) {
    this.#clock = clock;
    this.#capSeconds = capMs / 1000;
  }

  hold(retryAfter: number | undefined): void {
    if (retryAfter === undefined) return;
    this.#notBefore = Math.max(this.#notBefore, this.#clock.now() + Math.min(retryAfter, this.#capSeconds));
  }

  /** @throws {ProviderUnavailableError} while the provider asked not to be called. */
  check(): void {
    const wait = this.#notBefore - this.#clock.now();
    // After the clock was set back, a wait longer than the cap is none that the provider asked for.
    if (wait <= 0 || wait > this.#capSeconds) return;
    throw new ProviderUnavailableError(
      'The provider asked not to be called for a while (Retry-After).',
      wait,
    );
  }
}
