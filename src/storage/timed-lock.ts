import { randomBytes } from 'node:crypto';
import { pause } from './polling.ts';
import { RECORD_PREFIX, type SessionStoreCalls } from './session-store-calls.ts';

const LEASE_MS = 3000;
const HEARTBEAT_MS = LEASE_MS / 3;
const FORGOTTEN_MS = 5000;
const RELEASED_MS = 10_000;

const MIN_DELTA_MS = 60;
const DELTA_FACTOR = 4;
const SAMPLES = 100;

export interface HeldLock {
  /** The lock of another ran out. */
  readonly isTakeover: boolean;
  release(): Promise<void>;
}

/** What a contender remembers of the lock it waits for. */
export interface LockWait {
  owner: string;
  respectUntil: number;
}

/**
 * Fischer's timed lock over get and set, for stores that have nothing better: write your name, wait δ, read it back.
 *
 * It holds while a write becomes visible within δ, which is at least 60 ms and four times the 99th percentile of what
 * a write and a read took lately, and while the clocks of the processes differ by less than the lease.
 */
export class TimedLock {
  readonly #calls: SessionStoreCalls;
  readonly #durations: number[] = [];

  constructor(calls: SessionStoreCalls) {
    this.#calls = calls;
  }

  /** Takes the lock if nobody holds it. `wait` is this contender's memory between its tries. */
  async tryTake(name: string, wait: LockWait): Promise<HeldLock | undefined> {
    const id = `${RECORD_PREFIX}lock.${name}`;
    const current = await this.#calls.get(id);
    const holder = typeof current?.owner === 'string' ? current.owner : '';
    const isReleased = current?.released === true;
    if (holder !== '' && !isReleased && Number(current?.until) > Date.now()) {
      wait.owner = holder;
      wait.respectUntil = Number(current?.until) + FORGOTTEN_MS;
      return undefined;
    }
    // The store forgot a lock that was seen: its holder may be about to commit.
    if (wait.owner !== '' && holder !== wait.owner && Date.now() < wait.respectUntil) return undefined;
    const owner = randomBytes(12).toString('base64url');
    await this.#timed(() => this.#write(id, owner));
    await pause(this.#deltaMs());
    const now = await this.#timed(() => this.#calls.get(id));
    if (now?.owner !== owner) return undefined;
    return { isTakeover: holder !== '' && !isReleased, release: this.#keep(id, owner) };
  }

  /** Beats until the lock is released; stops by itself when another has taken it. */
  #keep(id: string, owner: string): () => Promise<void> {
    const isMine = async () => (await this.#calls.get(id))?.owner === owner;
    const heartbeat = setInterval(() => {
      // A missed beat is no fault yet: the next one comes before the lock ends, and the version is the fence.
      isMine()
        .then((mine) => (mine ? this.#write(id, owner) : clearInterval(heartbeat)))
        .catch(() => undefined);
    }, HEARTBEAT_MS);
    heartbeat.unref?.();
    return async () => {
      clearInterval(heartbeat);
      // A lock that cannot be released ends by itself.
      await isMine()
        .then((mine) => (mine ? this.#calls.set(id, { owner, released: true }, RELEASED_MS) : undefined))
        .catch(() => undefined);
    };
  }

  #write(id: string, owner: string): Promise<void> {
    return this.#calls.set(id, { owner, until: Date.now() + LEASE_MS }, LEASE_MS + FORGOTTEN_MS);
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.#durations.push(performance.now() - start);
      if (this.#durations.length > SAMPLES) this.#durations.shift();
    }
  }

  #deltaMs(): number {
    const sorted = [...this.#durations].sort((a, b) => a - b);
    const p99 = sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0;
    // A write and a read after it.
    return Math.max(MIN_DELTA_MS, DELTA_FACTOR * 2 * p99);
  }
}
