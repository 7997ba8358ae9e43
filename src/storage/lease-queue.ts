import type { Events, Lease } from '../core/ports.ts';
import { jittered, nextDelay, POLL_MS, pause } from './polling.ts';
import { Serial } from './serial.ts';

/** Waits for leases: of this process one caller per record asks the store, and the others wait behind it. */
export class LeaseQueue {
  readonly #turns = new Serial();
  readonly #events: Events;

  constructor(events: Events) {
    this.#events = events;
  }

  /** @param tryAcquire undefined: another process holds the lease. */
  async acquire(ref: string, tryAcquire: () => Promise<Lease | undefined>): Promise<Lease> {
    const leaveQueue = await this.#turns.acquire(ref);
    try {
      const lease = await this.#poll(tryAcquire);
      return { ...lease, release: () => lease.release().finally(leaveQueue) };
    } catch (error) {
      leaveQueue();
      throw error;
    }
  }

  async #poll(tryAcquire: () => Promise<Lease | undefined>): Promise<Lease> {
    const startedAt = performance.now();
    const patience = new PollPatience();
    for (let delayMs: number = POLL_MS.first; ; delayMs = nextDelay(delayMs)) {
      const lease = await patience.bear(tryAcquire);
      if (lease !== undefined) {
        if (delayMs > POLL_MS.first)
          this.#events.leaseWaited({ waitedMs: Math.round(performance.now() - startedAt) });
        return lease;
      }
      await pause(jittered(delayMs));
    }
  }
}

/** Bears one poll that fails after one that did not: a busy machine misses a deadline without the store being gone. */
class PollPatience {
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
