import { createHash } from 'node:crypto';
import { diagnosticEvents } from '../../src/express/diagnostics.ts';
import { bindStore, type StoreBinding } from '../../src/storage/store-binding.ts';
import type { OpenedStore } from '../support/store-factories.ts';

const logger = { debug() {}, info() {}, warn() {}, error() {} };

/** What `auth()` keeps beside the sessions of this store, by the engine that it chooses. */
export function bind(
  { store, tokenStore }: Pick<OpenedStore, 'store' | 'tokenStore'>,
  deadlines = { readMs: 5000, writeMs: 5000 },
): StoreBinding {
  return bindStore(store, {
    client: 'https://op.example web-app',
    redis: tokenStore?.place,
    storeDeadlines: deadlines,
    redisDeadlines: deadlines,
    logger,
    events: diagnosticEvents,
    handleField: 'oidc',
  });
}

/** Redis counts by a clock of its own, which does not travel. */
export function isInRedis(name: string): boolean {
  return name.includes('redis');
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
