import type { Clock, Logger } from '../core/ports.ts';

const PAUSE_SECONDS = 10;
const MAX_PAUSED = 10_000;

/** Grants that nobody waits for, since the token is still good: one that failed is tried again ten seconds later. */
export class Background {
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** When a grant that failed may be tried again. */
  readonly #notBefore = new Map<string, number>();

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  start(key: string, grant: () => Promise<unknown>): void {
    if ((this.#notBefore.get(key) ?? 0) > this.#clock.now()) return;
    grant().then(
      () => this.#notBefore.delete(key),
      (error: Error) => {
        this.#logger.debug('A token could not be refreshed in the background', { error: error.name });
        if (this.#notBefore.size >= MAX_PAUSED) this.#notBefore.clear();
        this.#notBefore.set(key, this.#clock.now() + PAUSE_SECONDS);
      },
    );
  }
}
