import { ProviderUnavailableError } from '../core/errors.ts';
import type { Clock, Events } from '../core/ports.ts';

const FAILURES_TO_OPEN = 20;
const OPEN_SECONDS = { first: 1, most: 30 };

/**
 * Spares a provider that fails again and again, in this process: after twenty grants in a row without an answer
 * one call in a while tries whether it is back. Every answer counts as success, also that a refresh token is dead.
 */
export class Breaker {
  readonly #clock: Clock;
  readonly #events: Events;
  #failures = 0;
  #openSeconds = 0;
  #openUntil = 0;
  #isProbing = false;

  constructor(clock: Clock, events: Events) {
    this.#clock = clock;
    this.#events = events;
  }

  /** @throws {ProviderUnavailableError} while it is open; lets one call through each time that ends. */
  check(): void {
    if (this.#openSeconds === 0) return;
    const wait = this.#openUntil - this.#clock.now();
    if (wait > 0 && wait <= OPEN_SECONDS.most) {
      throw new ProviderUnavailableError('The provider has not answered for a while.', wait);
    }
    this.#openUntil = this.#clock.now() + this.#openSeconds;
    this.#isProbing = true;
  }

  succeeded(): void {
    if (this.#openSeconds > 0) this.#events.breakerClosed({});
    this.#failures = 0;
    this.#openSeconds = 0;
  }

  failed(): void {
    this.#failures += 1;
    // The calls that were under way when it opened say nothing new.
    if (this.#failures < FAILURES_TO_OPEN || (this.#openSeconds > 0 && !this.#isProbing)) return;
    this.#isProbing = false;
    this.#openSeconds = Math.min(Math.max(OPEN_SECONDS.first, 2 * this.#openSeconds), OPEN_SECONDS.most);
    this.#openUntil = this.#clock.now() + this.#openSeconds;
    this.#events.breakerOpened({ forMs: this.#openSeconds * 1000 });
  }
}
