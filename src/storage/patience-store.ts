import type { PatienceStore } from '../core/ports.ts';
import type { RedisCommands } from './redis-commands.ts';
import type { SessionStoreCalls } from './session-store-calls.ts';

export function redisPatience(redis: RedisCommands, key: string): PatienceStore {
  return {
    read: async () => Number((await redis.read(key, 'GET')) ?? 0),
    async write(notBefore, ttlMs) {
      await redis.write(key, 'SET', String(notBefore), 'PX', String(Math.max(1, Math.ceil(ttlMs))));
    },
  };
}

export function sessionPatience(calls: SessionStoreCalls, id: string): PatienceStore {
  return {
    read: async () => Number((await calls.get(id))?.notBefore ?? 0),
    write: (notBefore, ttlMs) => calls.set(id, { notBefore }, ttlMs),
  };
}
