export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}

/** Between three quarters and five quarters of a delay, so that waiting processes do not ask in step. */
export function jittered(delayMs: number): number {
  return delayMs * (0.75 + Math.random() / 2);
}

/** How long to wait between two looks at a lease that another process holds. */
export function nextDelay(delayMs: number): number {
  return Math.min(2 * delayMs, POLL_MS.most);
}

export const POLL_MS = { first: 25, most: 200 } as const;

/** Bears one poll that fails after one that did not: a busy machine misses a deadline without the store being gone. */
export class PollPatience {
  #hasAnswered = false;

  /** Undefined: it failed, and the next one may not. */
  async bear<T>(poll: () => Promise<T>): Promise<T | undefined> {
    try {
      const answer = await poll();
      this.#hasAnswered = true;
      return answer;
    } catch (error) {
      if (!this.#hasAnswered) throw error;
      this.#hasAnswered = false;
      return undefined;
    }
  }
}
