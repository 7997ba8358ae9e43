import type { Clock, Logger } from '../core/ports.ts';

const PAUSE_SECONDS = 10;
const MAX_PAUSED = 10_000;

/** Renewals that nobody waits for: one that failed is tried again ten seconds later. */
export class Background {
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** When a renewal that failed may be tried again. */
  readonly #notBefore = new Map<string, number>();

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  start(key: string, renew: () => Promise<unknown>): void {
    if ((this.#notBefore.get(key) ?? 0) > this.#clock.now()) return;
    renew().then(
      () => this.#notBefore.delete(key),
      (error: Error) => {
        this.#logger.debug('A token could not be renewed in the background', { error: error.name });
        if (this.#notBefore.size >= MAX_PAUSED) this.#notBefore.clear();
        this.#notBefore.set(key, this.#clock.now() + PAUSE_SECONDS);
      },
    );
  }
}
