import { LRUCache } from 'lru-cache';
import type { Clock, MemoryScope, TokenMemory } from '../core/ports.ts';

interface Entry<T> {
  readonly value: T;
  readonly from: number;
  readonly until: number;
}

const MAX_ENTRIES = 50_000;
const MAX_BYTES = 64 * 1024 * 1024;
const ENTRY_OVERHEAD_BYTES = 1000;

/**
 * Access tokens of this process's sessions, never refresh tokens.
 *
 * Bound to session, ref and epoch: a sign-in, a step-up, a new session id and a logout all miss by themselves, in
 * every process. Not lru-cache's `fetchMethod`: an eviction would abort the refresh.
 */
export class AccessTokenMemory<T extends object> implements TokenMemory<T> {
  readonly #clock: Clock;
  readonly #entries: LRUCache<string, Entry<T>>;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#entries = new LRUCache({ max: MAX_ENTRIES, maxSize: MAX_BYTES });
  }

  get(scope: MemoryScope, requestKey: string): T | undefined {
    const entry = this.#entries.get(entryKey(scope, requestKey));
    const now = this.#clock.now();
    // From the future: the clock was set back, and would count the time until then twice.
    return entry !== undefined && entry.from <= now && now < entry.until ? entry.value : undefined;
  }

  /** @param until epoch seconds */
  put(scope: MemoryScope, requestKey: string, value: T, until: number, bytes: number): void {
    const entry = { value, from: this.#clock.now(), until };
    this.#entries.set(entryKey(scope, requestKey), entry, { size: bytes + ENTRY_OVERHEAD_BYTES });
  }

  forget(ref: string): void {
    for (const key of this.#entries.keys()) {
      if (key.startsWith(`${ref} `)) this.#entries.delete(key);
    }
  }
}

function entryKey({ ref, epoch, sessionId }: MemoryScope, requestKey: string): string {
  return `${ref} ${epoch} ${sessionId} ${requestKey}`;
}
