import type { SharedValues } from '../core/ports.ts';
import { valueId } from './record-ids.ts';
import type { RedisCommands } from './redis-commands.ts';

/** Sealed values in Redis, each under the hash of its name. */
export function redisValues(redis: RedisCommands, prefix: string): SharedValues {
  const keyOf = (name: string) => prefix + valueId(name);
  return {
    async read(name) {
      const value = await redis.read(keyOf(name), 'GET');
      return typeof value === 'string' ? value : undefined;
    },
    async write(name, payload, ttlMs) {
      await redis.write(keyOf(name), 'SET', payload, 'PX', String(Math.max(1, Math.ceil(ttlMs))));
    },
  };
}
