import { LRUCache } from 'lru-cache';
import type { BoundedCache } from '../core/ports.ts';

/**
 * The most recently used values of this process.
 *
 * @param maxKeyLength of all keys together, where strangers choose them.
 */
export function boundedCache<T extends object>(maxEntries: number, maxKeyLength?: number): BoundedCache<T> {
  const entries = new LRUCache<string, T>({
    max: maxEntries,
    ...(maxKeyLength === undefined
      ? {}
      : { maxSize: maxKeyLength, sizeCalculation: (_value: T, key: string) => Math.max(1, key.length) }),
  });
  return {
    get: (key) => entries.get(key),
    set: (key, value) => void entries.set(key, value),
    delete: (key) => void entries.delete(key),
  };
}
