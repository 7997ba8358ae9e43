import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, test } from '@jest/globals';
import connectPgSimple from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import { type AuthOptions, redisTokenStore } from 'express-oidc-tokens';
import session, { MemoryStore, type Store } from 'express-session';
import { Redis } from 'ioredis';
import fileStore from 'session-file-store';
import { postgresAvailable, startPostgres, type TestPostgres } from './postgres.ts';
import { redisAvailable, startRedis } from './redis.ts';
import { latencyStore } from './stores.ts';

/** The sessions, and where the tokens are if they are not with them. */
interface Stored {
  store: Store;
  tokenStore?: AuthOptions['tokenStore'];
}

/** One kind of store, for the contract tests. */
export interface OpenedStore extends Stored {
  /** The same data as another process would open it. */
  reopen(): Stored;
  close(): Promise<void>;
}

export interface StoreFactory {
  name: string;
  open(): Promise<OpenedStore>;
}

async function openFileStore(): Promise<OpenedStore> {
  const path = await mkdtemp(join(tmpdir(), 'sessions-'));
  const FileStore = fileStore(session);
  const reopen = () => ({ store: new FileStore({ path, retries: 0, reapInterval: -1, logFn: () => {} }) });
  return { ...reopen(), reopen, close: () => rm(path, { recursive: true, force: true }) };
}

async function openShared(store: Store): Promise<OpenedStore> {
  return { store, reopen: () => ({ store }), close: async () => {} };
}

let postgres: Promise<TestPostgres> | undefined;

afterAll(async () => {
  await (await postgres)?.close();
  postgres = undefined;
});

/** A table of its own, in one PostgreSQL for all tests of a file. */
async function openPostgresStore(): Promise<OpenedStore> {
  postgres ??= startPostgres();
  const server = await postgres;
  const schemaName = await server.schema();
  const PostgresStore = connectPgSimple(session);
  const opened: InstanceType<typeof PostgresStore>[] = [];
  const reopen = () => {
    const store = new PostgresStore({ pool: server.pool(), schemaName });
    opened.push(store);
    return { store };
  };
  // The server ends their pools.
  const close = async () => void (await Promise.all(opened.map((store) => store.close())));
  return { ...reopen(), reopen, close };
}

/** connect-redis over a Redis of its own; each `open()` starts one. */
async function openRedisStore(): Promise<OpenedStore> {
  const redis = await startRedis();
  const [client, other] = [await redis.client(), await redis.client()];
  return {
    store: new RedisStore({ client }),
    reopen: () => ({ store: new RedisStore({ client: other }) }),
    close: () => redis.close(),
  };
}

/** Sessions in files, and their tokens in Redis by ioredis, which connect-redis does not take. */
async function openIoRedisTokens(): Promise<OpenedStore> {
  const [redis, files] = [await startRedis(), await openFileStore()];
  const clients: Redis[] = [];
  const reopen = () => {
    const client = new Redis(redis.port);
    clients.push(client);
    return { ...files.reopen(), tokenStore: redisTokenStore({ client }) };
  };
  const close = async () => {
    for (const client of clients) client.disconnect();
    await Promise.all([redis.close(), files.close()]);
  };
  return { ...reopen(), reopen, close };
}

const missing = test.skip;
if (!postgresAvailable()) missing('over connect-pg-simple: there is no PostgreSQL', () => {});
if (!redisAvailable()) missing('over connect-redis, and with ioredis: there is no redis-server', () => {});

/** Stores that the package uses by get, set and destroy alone. */
export const storeFactories: StoreFactory[] = [
  { name: 'MemoryStore', open: () => openShared(new MemoryStore()) },
  { name: 'MemoryStore, 0 to 30 ms away', open: () => openShared(latencyStore(0, 30, 7)) },
  { name: 'session-file-store', open: openFileStore },
  ...(postgresAvailable() ? [{ name: 'connect-pg-simple', open: openPostgresStore }] : []),
];

/** Every store there is, by the engine that the package chooses for it. */
export const allFactories: StoreFactory[] = redisAvailable()
  ? [
      ...storeFactories,
      { name: 'connect-redis', open: openRedisStore },
      { name: 'redisTokenStore with ioredis', open: openIoRedisTokens },
    ]
  : storeFactories;
