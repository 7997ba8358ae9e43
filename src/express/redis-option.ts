import { isRedisClient, type RedisClient } from '../storage/redis-commands.ts';
import type { RedisPlace } from '../storage/store-binding.ts';
import { knownFields } from './option-values.ts';

/** What `redisTokenStore()` gives, for the option `tokenStore`. */
export interface TokenStoreOption {
  readonly kind: 'redis';
  readonly place: RedisPlace;
}

/**
 * Keeps token caches in Redis or Valkey, for a session store that is not connect-redis, or another Redis than its own.
 *
 * @param options.client a connected client of `redis` (a cluster too) or `ioredis`.
 * @param options.prefix what keys begin with. Default `sess:`, as in connect-redis.
 * @throws {TypeError} for anything else than such a client.
 */
export function redisTokenStore(options: {
  client: RedisClient;
  prefix?: string | undefined;
}): TokenStoreOption {
  const { client, prefix = 'sess:' } = options ?? {};
  if (!isRedisClient(client))
    throw new TypeError('redisTokenStore() needs { client }: a client of redis or ioredis');
  knownFields(options, ['client', 'prefix'], 'redisTokenStore()');
  if (typeof prefix !== 'string') throw new TypeError('redisTokenStore(): prefix must be a string');
  return { kind: 'redis', place: { client, prefix } };
}

export function parseTokenStore(value: TokenStoreOption | undefined): RedisPlace | undefined {
  if (value === undefined) return undefined;
  if (value?.kind !== 'redis') throw new TypeError('tokenStore must be redisTokenStore({ client })');
  return value.place;
}
