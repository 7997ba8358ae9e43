import { createHash } from 'node:crypto';
import { diagnosticEvents } from '../../src/express/diagnostics.ts';
import { bindStore, type StoreBinding } from '../../src/storage/store-binding.ts';
import { redisAvailable, redisStoreFactory } from '../support/redis.ts';
import { type OpenedStore, type StoreFactory, storeFactories } from '../support/stores.ts';

const logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Every store there is, by the engine that the package chooses for it. */
export const allFactories: StoreFactory[] = redisAvailable()
  ? [...storeFactories, redisStoreFactory]
  : storeFactories;

/** What `auth()` keeps beside the sessions of this store. */
export function bind(store: OpenedStore['store'], deadlineMs = 5000): StoreBinding {
  const deadlines = { readMs: deadlineMs, writeMs: deadlineMs };
  return bindStore(store, {
    client: 'https://op.example web-app',
    redis: undefined,
    storeDeadlines: deadlines,
    redisDeadlines: deadlines,
    logger,
    events: diagnosticEvents,
    handleField: 'oidc',
  });
}

/** A version that no test reaches: for a caller that wants the lease, whatever there is. */
export const ANY_VERSION = 99;

let count = 0;

/** A record's name that no other test uses. */
export function newRef(): string {
  count += 1;
  return `ref-${count}`;
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
