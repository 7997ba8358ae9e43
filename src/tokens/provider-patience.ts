import { ProviderUnavailableError } from '../core/errors.ts';
import type { Clock, PatienceStore } from '../core/ports.ts';

/**
 * The time before which the provider does not want to be asked for tokens (429 or 503 with `Retry-After`), known to
 * all processes of the app where they share a store.
 */
export class ProviderPatience {
  readonly #clock: Clock;
  readonly #capSeconds: number;
  #shared: PatienceStore | undefined;
  #notBefore = 0;

  constructor(clock: Clock, capMs: number) {
    this.#clock = clock;
    this.#capSeconds = capMs / 1000;
  }

  share(store: PatienceStore | undefined): void {
    this.#shared ??= store;
  }

  /** Returns for how many seconds, which is at most the cap. */
  async hold(retryAfter: number | undefined): Promise<number | undefined> {
    if (retryAfter === undefined) return undefined;
    const now = this.#clock.now();
    const seconds = Math.min(retryAfter, this.#capSeconds);
    this.#notBefore = Math.max(this.#notBefore, now + seconds);
    // What the others are not told they hear from the provider.
    await this.#shared?.write(this.#notBefore, (this.#notBefore - now) * 1000).catch(() => undefined);
    return seconds;
  }

  /** @throws {ProviderUnavailableError} while the provider asked not to be called. */
  async check(): Promise<void> {
    const shared = (await this.#shared?.read().catch(() => 0)) ?? 0;
    const waits = [this.#notBefore, shared].map((notBefore) => notBefore - this.#clock.now());
    // Longer than the cap is none that the provider asked for: a clock was set back, or runs elsewhere.
    const wait = Math.max(0, ...waits.filter((seconds) => seconds <= this.#capSeconds));
    if (wait === 0) return;
    throw new ProviderUnavailableError(
      'The provider asked not to be called for a while (Retry-After).',
      wait,
    );
  }
}
