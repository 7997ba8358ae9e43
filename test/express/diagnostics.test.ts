import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { SignedIn } from '../../src/core/session-handle.ts';
import { diagnosticEvents } from '../../src/express/diagnostics.ts';
import {
  describeRedis,
  keyOf,
  type RecordedEvents,
  redisEngine,
  WatchedClient,
} from '../storage/engine-support.ts';
import { startApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { type RedisClient, startRedis, type TestRedis } from '../support/redis.ts';
import { restoreTime, travel } from '../support/time.ts';
import { type AppProcess, LIFETIME, login, openProcess } from '../tokens/process-support.ts';

const NAMES = [
  'refresh.start',
  'refresh.ok',
  'refresh.failed',
  'refresh.rejected',
  'refresh.response_lost',
  'lease.wait',
  'lease.takeover',
  'commit.ok',
  'commit.refused',
  'commit.retried',
  'cache.older_version',
  'breaker.open',
  'breaker.close',
  'store.timeout',
  'memory.hit',
  'memory.miss',
] as const;

type Name = (typeof NAMES)[number];

const INTERACTION = { name: 'InteractionRequiredError' };
const published: { name: Name; details: unknown }[] = [];
const everPublished = new Set<Name>();
const listeners = NAMES.map((name) => (details: unknown) => {
  published.push({ name, details });
  everPublished.add(name);
});
const channelOf = (name: Name) => `express-oidc-tokens:${name}`;

beforeEach(() => {
  published.length = 0;
  for (const [index, name] of NAMES.entries()) subscribe(channelOf(name), listeners[index] as () => void);
});
afterEach(() => {
  restoreTime();
  for (const [index, name] of NAMES.entries()) unsubscribe(channelOf(name), listeners[index] as () => void);
});

/** What was published since the last look. */
function events(): string[] {
  return published.splice(0).map(({ name }) => name);
}

function detailsOf(name: Name): unknown[] {
  return published.filter((event) => event.name === name).map(({ details }) => details);
}

test('an app: a login, a hit, a refresh, each on its channels', async () => {
  const provider = await startProvider({ accessTokenTtl: LIFETIME });
  const app = await startApp({ provider });
  const browser = new Browser({ account: 'alice' });
  try {
    await browser.login(app);
    expect(events()).toEqual(['commit.ok']);
    await browser.fetchJson(`${app.url}/token`);
    await browser.fetchJson(`${app.url}/token`);
    expect(events()).toEqual(['memory.miss', 'memory.hit']);
    travel(LIFETIME + 1);
    await browser.fetchJson(`${app.url}/token`);
    expect(detailsOf('refresh.start')).toEqual([{ reason: 'expired' }]);
    expect(detailsOf('refresh.ok')).toEqual([{ durationMs: expect.any(Number) }]);
    expect(detailsOf('commit.ok')).toEqual([{ bytes: expect.any(Number) }]);
    expectNoSecrets(published, provider);
    expect(events()).toEqual(['memory.miss', 'refresh.start', 'refresh.ok', 'commit.ok']);
  } finally {
    browser.close();
    await app.close();
    await provider.close();
  }
});

describeRedis('what goes wrong', () => {
  let redis: TestRedis;
  let admin: RedisClient;
  let provider: TestProvider;
  let mine: AppProcess;
  let theirs: AppProcess;
  let theirClient: WatchedClient;
  let session: SignedIn;

  beforeEach(async () => {
    redis = await startRedis();
    admin = await redis.client();
    provider = await startProvider({ accessTokenTtl: LIFETIME });
    theirClient = new WatchedClient(await redis.client());
    mine = await open(new WatchedClient(await redis.client()));
    theirs = await open(theirClient);
    session = await login(mine, provider);
    provider.clearCalls();
    published.length = 0;
  });
  afterEach(async () => {
    await redis.close();
    await provider.close();
    const { ref, key } = session.handle;
    expectNoSecrets(published, provider);
    for (const secret of [ref, key]) expect(JSON.stringify(published)).not.toContain(secret);
  });

  async function open(client: WatchedClient): Promise<AppProcess> {
    const told = diagnosticEvents as RecordedEvents;
    return openProcess(provider, redisEngine(client, { readMs: 1000, writeMs: 1000 }, told));
  }

  const refresh = (process = mine) => process.getToken(session, { forceRefresh: true });

  /** A refresh whose answer is held back until the result is called. */
  async function inFlight(): Promise<{ refreshing: Promise<unknown>; answer: () => void }> {
    let answer = () => {};
    const waitAfter = new Promise<void>((resolve) => {
      answer = resolve;
    });
    provider.script({ grantType: 'refresh_token', waitAfter });
    const refreshing = refresh();
    await provider.whenTokenCalls(provider.tokenCalls.length + 1);
    return { refreshing, answer };
  }

  test('a provider that fails, loses answers, and rejects', async () => {
    provider.script({ status: 429, headers: { 'retry-after': '1' }, json: { error: 'slow_down' } });
    await refresh().catch(() => undefined);
    expect(detailsOf('refresh.failed')).toEqual([{ outcome: 'throttled', status: 429 }]);
    expect(events()).toEqual(['memory.miss', 'refresh.start', 'refresh.failed']);
    travel(2);
    // The provider rotates, its answer is lost, and the same token is not taken again.
    provider.script({ reset: 'after' });
    await expect(refresh()).rejects.toMatchObject(INTERACTION);
    expect(events()).toEqual([
      'memory.miss',
      'refresh.start',
      'refresh.response_lost',
      'refresh.rejected',
      'commit.ok',
    ]);
  });

  test('a provider that does not answer at all, and answers again: the breaker', async () => {
    provider.scriptAlways({ reset: 'before' });
    for (let failure = 0; failure < 20; failure += 1) await refresh().catch(() => undefined);
    expect(detailsOf('refresh.failed')).toEqual(Array(20).fill({ outcome: 'ambiguous', status: undefined }));
    expect(detailsOf('refresh.response_lost')).toHaveLength(40);
    expect(detailsOf('breaker.open')).toEqual([{ forMs: 1000 }]);
    provider.scriptAlways(undefined);
    travel(2);
    await refresh();
    expect(detailsOf('breaker.close')).toEqual([{}]);
  });

  test('a lease that is waited for, and one that is taken over', async () => {
    const { refreshing, answer } = await inFlight();
    travel(LIFETIME + 1);
    const waiting = theirs.getToken(session);
    await theirClient.more(3);
    answer();
    await Promise.all([refreshing, waiting]);
    expect(detailsOf('lease.wait')).toEqual([{ waitedMs: expect.any(Number) }]);
    published.length = 0;
    await admin.hSet(keyOf(session.handle.ref), { l: 'a process that died', e: '1' });
    await refresh();
    expect(detailsOf('lease.takeover')).toEqual([{}]);
    expect(detailsOf('lease.wait')).toEqual([]);
  });

  test('commits that are tried again, and refused', async () => {
    const first = await inFlight();
    await admin.configSet('maxmemory', '1');
    first.answer();
    while (detailsOf('commit.retried').length === 0) await new Promise((resolve) => setImmediate(resolve));
    await admin.configSet('maxmemory', '0');
    await first.refreshing;
    expect(detailsOf('commit.ok')).toHaveLength(1);
    const second = await inFlight();
    await theirs.records.remove(session.handle);
    second.answer();
    await expect(second.refreshing).rejects.toMatchObject(INTERACTION);
    expect(detailsOf('commit.refused')).toEqual([{ by: 'tombstone' }]);
  });

  test('a store that comes back with an older record, and one that does not answer', async () => {
    const key = keyOf(session.handle.ref);
    const older = await admin.hGetAll(key);
    await refresh();
    await admin.hSet(key, older);
    await expect(refresh()).rejects.toMatchObject(INTERACTION);
    expect(detailsOf('cache.older_version')).toEqual([{ stored: 1, seen: 2 }]);
    redis.pause();
    await expect(refresh()).rejects.toMatchObject({ name: 'StoreUnavailableError' });
    redis.resume();
    expect(detailsOf('store.timeout')).toEqual([{}]);
  });

  test('that was every channel there is', () => {
    expect(new Set(NAMES)).toEqual(everPublished);
    expect(Object.keys(diagnosticEvents)).toHaveLength(NAMES.length);
  });
});
