import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { StoreUnavailableError } from '../core/errors.ts';
import { FORGOTTEN_MS, HEARTBEAT_MS, LEASE_MS, MAX_RESPECTED } from './lease-times.ts';
import { jittered, nextDelay, POLL_MS, pause } from './polling.ts';
import { lockId } from './record-ids.ts';
import type { SessionStoreCalls } from './session-store-calls.ts';

const RELEASED_MS = 10_000;

const MIN_DELTA_MS = 60;
const DELTA_FACTOR = 4;
const SAMPLES = 100;
/** A store that was slow once is not slow for ever. */
const SAMPLE_AGE_MS = 60_000;

/** Longer than the lock of a process that died while it held it. */
const TAKE_WAIT_MS = 10_000;

export interface HeldLock {
  /** The lock of another ran out. */
  readonly isTakeover: boolean;
  release(): Promise<void>;
}

/** The lock of a process that has the store for itself. */
export const UNSHARED: HeldLock = { isTakeover: false, release: async () => undefined };

/** The record of a lock: `number` counts how often it was taken. */
interface LockRecord {
  readonly owner: string;
  readonly number: number;
  /** Epoch milliseconds. */
  readonly until: number;
  readonly isReleased: boolean;
}

/**
 * Fischer's timed lock over get and set, for stores that have nothing better: write your name, wait δ, read it back.
 *
 * It holds while a write comes less than δ after the look that found the lock free: δ is at least 60 ms and four times
 * the 99th percentile of what a write and a read took in the last minute, up to a heartbeat. Processes may differ in
 * it, so whoever took longer than the least δ waits for another's next heartbeat too, which would put its name back.
 * The clocks of the processes may differ by less than the lease.
 */
export class TimedLock {
  readonly #calls: SessionStoreCalls;
  readonly #samples: { readonly at: number; readonly durationMs: number }[] = [];
  /** Locks that others were seen to hold: a store may come back without them while their holders work on. */
  readonly #respected = new LRUCache<string, { number: number; until: number }>({ max: MAX_RESPECTED });

  constructor(calls: SessionStoreCalls) {
    this.#calls = calls;
  }

  /** Takes the lock if nobody holds it. */
  async tryTake(name: string): Promise<HeldLock | undefined> {
    const id = lockId(name);
    const lookMs = Math.max(MIN_DELTA_MS / DELTA_FACTOR, 2 * this.#p99());
    const startedAt = performance.now();
    const isLater = (thanMs: number) => performance.now() - startedAt > thanMs;
    const before = await this.#timed(() => this.#read(id));
    if (isLive(before)) {
      this.#respected.set(id, { number: before.number, until: before.until + FORGOTTEN_MS });
      return undefined;
    }
    // What it saw may not be true any more. The next look is measured by what this one took.
    if (this.#isForgotten(id, before) || isLater(lookMs)) return undefined;
    const owner = randomBytes(12).toString('base64url');
    const number = before.number + 1;
    const abandon = (error: unknown): never => {
      void this.#abandon(id, owner, number);
      throw error;
    };
    await this.#timed(() => this.#write(id, owner, number)).catch(abandon);
    // Another, whose δ may be the least there is, may have read its own name back before this write came: it has the
    // lock, and says so with its next beat.
    const isLate = isLater(MIN_DELTA_MS);
    await pause((isLate ? HEARTBEAT_MS : 0) + this.#deltaMs());
    const after = await this.#timed(() => this.#read(id)).catch(abandon);
    if (after.owner !== owner) return undefined;
    const isTakeover = before.owner !== '' && !before.isReleased;
    return { isTakeover, release: this.#keep(id, owner, number, isLate) };
  }

  /** A name whose write failed, or that cannot be read back, may be the lock, and would hold up everybody until it ends. */
  async #abandon(id: string, owner: string, number: number): Promise<void> {
    try {
      if ((await this.#read(id)).owner === owner) await this.#release(id, owner, number);
    } catch {
      // It ends by itself.
    }
  }

  /**
   * Takes the lock when nobody holds it any more.
   *
   * @throws {StoreUnavailableError} after ten seconds.
   */
  async take(name: string): Promise<HeldLock> {
    const giveUpAt = performance.now() + TAKE_WAIT_MS;
    for (let delayMs: number = POLL_MS.first; ; delayMs = nextDelay(delayMs)) {
      const held = await this.tryTake(name);
      if (held !== undefined) return held;
      if (performance.now() > giveUpAt)
        throw new StoreUnavailableError('A record could not be locked in the session store.');
      await pause(jittered(delayMs));
    }
  }

  /** The store has not got as far as a lock that was seen: its holder may be about to commit. */
  #isForgotten(id: string, { number }: LockRecord): boolean {
    const respected = this.#respected.get(id);
    return respected !== undefined && number < respected.number && Date.now() < respected.until;
  }

  /** Beats until the lock is released; stops by itself when another has taken it. */
  #keep(id: string, owner: string, number: number, isDue: boolean): () => Promise<void> {
    // One after the other: a beat that is written after the release would hold the lock for nobody.
    let last: Promise<unknown> = Promise.resolve();
    const beat = async () => {
      const current = await this.#read(id);
      const isForgotten = current.number < number && !isLive(current);
      // The same number under another name is a contender's that wrote late; a higher one is a successor's.
      if (current.number === number || isForgotten) await this.#write(id, owner, number);
      else if (current.number > number) clearInterval(heartbeat);
    };
    const heartbeat = setInterval(() => {
      // A missed beat is no fault yet: the next one comes before the lock ends, and the version is the fence.
      last = last.then(beat).catch(() => undefined);
    }, HEARTBEAT_MS);
    heartbeat.unref?.();
    // Taking it took a good part of its time.
    if (isDue) last = beat().catch(() => undefined);
    return async () => {
      clearInterval(heartbeat);
      await last;
      // A lock that cannot be released ends by itself.
      await this.#release(id, owner, number).catch(() => undefined);
    };
  }

  async #release(id: string, owner: string, number: number): Promise<void> {
    if ((await this.#read(id)).number !== number) return;
    await this.#calls.set(id, { owner, number, released: true }, RELEASED_MS);
  }

  async #read(id: string): Promise<LockRecord> {
    const { owner, number, until, released } = (await this.#calls.get(id)) ?? {};
    return {
      owner: typeof owner === 'string' ? owner : '',
      number: Number(number ?? 0),
      until: Number(until ?? 0),
      isReleased: released === true,
    };
  }

  #write(id: string, owner: string, number: number): Promise<void> {
    return this.#calls.set(id, { owner, number, until: Date.now() + LEASE_MS }, LEASE_MS + FORGOTTEN_MS);
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.#samples.push({ at: Date.now(), durationMs: performance.now() - start });
      if (this.#samples.length > SAMPLES) this.#samples.shift();
    }
  }

  /** A write and a read after it, and no longer than a heartbeat: who writes later than that waits for one. */
  #deltaMs(): number {
    return Math.min(HEARTBEAT_MS, Math.max(MIN_DELTA_MS, DELTA_FACTOR * 2 * this.#p99()));
  }

  #p99(): number {
    const recent = this.#samples.filter(({ at }) => Math.abs(Date.now() - at) <= SAMPLE_AGE_MS);
    const sorted = recent.map(({ durationMs }) => durationMs).sort((a, b) => a - b);
    return sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
  }
}

function isLive({ isReleased, until }: LockRecord): boolean {
  return !isReleased && until > Date.now();
}
