import { channel } from 'node:diagnostics_channel';
import type { Events } from '../core/ports.ts';

/** The channels, by what happens on them; `docs/operations.md` says what each means and carries. */
const CHANNELS: Readonly<Record<keyof Events, string>> = {
  refreshStarted: 'express-oidc-tokens:refresh.start',
  refreshSucceeded: 'express-oidc-tokens:refresh.ok',
  refreshFailed: 'express-oidc-tokens:refresh.failed',
  refreshRejected: 'express-oidc-tokens:refresh.rejected',
  responseLost: 'express-oidc-tokens:refresh.response_lost',
  leaseWaited: 'express-oidc-tokens:lease.wait',
  leaseTakenOver: 'express-oidc-tokens:lease.takeover',
  commitStored: 'express-oidc-tokens:commit.ok',
  commitRefused: 'express-oidc-tokens:commit.refused',
  commitRetried: 'express-oidc-tokens:commit.retried',
  olderVersionSeen: 'express-oidc-tokens:cache.older_version',
  breakerOpened: 'express-oidc-tokens:breaker.open',
  breakerClosed: 'express-oidc-tokens:breaker.close',
  storeTimedOut: 'express-oidc-tokens:store.timeout',
  memoryHit: 'express-oidc-tokens:memory.hit',
  memoryMissed: 'express-oidc-tokens:memory.miss',
};

/** Publishes what happens on `node:diagnostics_channel`; without a subscriber that costs a comparison. */
export const diagnosticEvents: Events = Object.fromEntries(
  Object.entries(CHANNELS).map(([event, name]) => {
    const published = channel(name);
    return [event, (details: object) => published.hasSubscribers && published.publish(details)];
  }),
) as unknown as Events;
