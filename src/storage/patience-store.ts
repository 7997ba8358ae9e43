import { createHash } from 'node:crypto';
import type { PatienceStore } from '../core/ports.ts';
import type { RedisCommands } from './redis-commands.ts';
import { RECORD_PREFIX, type SessionStoreCalls } from './session-store-calls.ts';

/** The id of the record that says when this client may call its provider again. */
export function patienceId(client: string): string {
  return `${RECORD_PREFIX}patience.${createHash('sha256').update(client).digest('hex')}`;
}

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
