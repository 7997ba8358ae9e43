/**
 * Work that several callers wait for and none of them owns: it goes on when they leave, and its failure is no
 * unhandled rejection.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Promise<T>>();

  /** Joins the flight of this key, or starts it. */
  join(key: string, start: () => Promise<T>): Promise<T> {
    const running = this.#flights.get(key);
    if (running !== undefined) return running;
    const flight = start().finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    this.#flights.set(key, flight);
    flight.catch(() => undefined);
    return flight;
  }

  /** Resolves when all that is in flight has landed, well or badly. */
  async landed(): Promise<void> {
    while (this.#flights.size > 0) await Promise.allSettled(this.#flights.values());
  }
}

const TIMED_OUT: unique symbol = Symbol('timed out');
export type TimedOut = typeof TIMED_OUT;

export function isTimedOut(value: unknown): value is TimedOut {
  return value === TIMED_OUT;
}

/** The result of `work`, or a mark when it takes longer. The timer keeps no process alive. */
export async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T | TimedOut> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<TimedOut>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, TIMED_OUT);
    timer.unref?.();
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}
