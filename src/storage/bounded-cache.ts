import { LRUCache } from 'lru-cache';
import type { BoundedCache } from '../core/ports.ts';

/** The most recently used values of this process. */
export function boundedCache<T extends object>(maxEntries: number): BoundedCache<T> {
  const entries = new LRUCache<string, T>({ max: maxEntries });
  return {
    get: (key) => entries.get(key),
    set: (key, value) => void entries.set(key, value),
    delete: (key) => void entries.delete(key),
  };
}
