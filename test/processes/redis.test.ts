import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { COMMIT, LOAD_OR_LOCK } from '../../src/storage/redis-scripts.ts';
import {
  barrier,
  expectOneToken,
  redisDescribe,
  redisScene,
  sharedScene,
  statuses,
  tokenAt,
  until,
} from './setup.ts';

const REFRESH = { grantType: 'refresh_token' };

/** A second, five times for a busy machine. */
const SOON_MS = 5 * 1000;

interface SlowAnswer {
  before?: { accessToken: string };
  after?: { accessToken: string };
}

redisDescribe('Redis stands still', () => {
  const shared = sharedScene(() => redisScene({ processes: 2, hasUsualDeadlines: true, isProxied: true }));

  test('C44: a valid token in memory is served once the session is loaded; fresh requests fail soon', async () => {
    const { scene } = shared;
    const { provider, fleet, redis } = scene;
    const browser = await scene.signedIn('ann');
    const warm = expectOneToken(await scene.burst(browser, 1));
    provider.clearCalls();
    const inside = browser.fetchJson(`${fleet.process(1).url}/slow/inside?before&after`);
    await fleet.process(1).at('inside');
    redis.pause();
    const timeouts = fleet.events('store.timeout').length;
    fleet.process(1).open('inside');
    const { before, after } = (await inside).json as SlowAnswer;
    expect([before?.accessToken, after?.accessToken]).toEqual([warm, warm]);
    // The token was there without a question to Redis that would have had to time out.
    expect(fleet.events('store.timeout')).toHaveLength(timeouts);
    for (const process of [0, 1, 1]) {
      const { status, tookMs } = await scene.token(browser, process);
      expect(status).toBeGreaterThanOrEqual(500);
      expect(tookMs).toBeLessThan(SOON_MS);
    }
    redis.resume();
    for (const process of [0, 1])
      await until(async () => (await scene.token(browser, process)).status === 200);
    expect(expectOneToken(await scene.burst(browser, 2))).toBe(warm);
    expect(provider.tokenCalls).toEqual([]);
    await scene.expectAlive(browser);
  });

  test('C44: an expired token: 503, no grant without the lock, and all is well afterwards', async () => {
    const { scene } = shared;
    const { provider, fleet, redis } = scene;
    const browser = await scene.signedIn('ben');
    await scene.expire();
    provider.clearCalls();
    const inside = tokenAt(browser, `${fleet.process(1).url}/slow/waiting?after`);
    await fleet.process(1).at('waiting');
    redis.pause();
    fleet.process(1).open('waiting');
    expect((await inside).status).toBe(503);
    expect((await scene.token(browser, 0)).status).toBeGreaterThanOrEqual(500);
    expect(provider.tokenCalls).toEqual([]);
    redis.resume();
    await until(async () => statuses(await scene.burst(browser, 1)).join() === '200');
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
  });

  test('C44: Redis that stands still between the look and the lease: 503, no grant', async () => {
    const { scene } = shared;
    const { proxy } = scene;
    const { provider } = scene;
    const browser = await scene.signedIn('cid');
    await scene.expire();
    provider.clearCalls();
    await proxy.set({ kind: 'blackhole', matching: LOAD_OR_LOCK.sha1 });
    expect(statuses(await scene.burst(browser, 3))).toEqual([503]);
    expect(provider.tokenCalls).toEqual([]);
    await proxy.set(undefined);
    await until(async () => statuses(await scene.burst(browser, 1)).join() === '200');
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
  });
});

redisDescribe('Redis fails between the answer of the provider and the commit', () => {
  const shared = sharedScene(() => redisScene({ processes: 3, isProxied: true }));

  test('C45: its answer to the commit is lost: the token is found to be stored, 1 grant', async () => {
    const { scene } = shared;
    const { proxy } = scene;
    const { provider } = scene;
    const browser = await scene.signedIn('dan');
    await scene.expire();
    provider.clearCalls();
    const retried = scene.fleet.events('commit.retried').length;
    await proxy.set({ kind: 'reset-after-request', matching: COMMIT.sha1, times: 1 });
    expect((await scene.token(browser, 1)).status).toBe(200);
    expect(scene.fleet.events('commit.retried')).toHaveLength(retried + 1);
    expect(await scene.version(browser)).toBe(2);
    expectOneToken(await scene.burst(browser, 2));
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
  });

  test('C45: killed, and back with the old record: the holder commits, the others hold back', async () => {
    const { scene } = shared;
    const { provider, fleet, redis } = scene;
    const browser = await scene.signedIn('eva');
    const admin = await redis.client();
    await admin.sendCommand(['SAVE']);
    await scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const held = scene.token(browser, 1);
    await provider.whenTokenCalls(1);
    const waiting = scene.burst(browser, 2, { processes: [0, 2] });
    // They have seen the lease when somebody waits for it at each of them.
    await delay(300);
    await redis.stop('SIGKILL');
    await redis.start();
    // Long enough for them to look several times at a Redis that knows of no lease.
    await delay(500);
    expect(provider.tokenCalls).toHaveLength(1);
    open();
    const token = expectOneToken([await held]);
    // Who looked while Redis was away was sent away, and tries again.
    expect(statuses(await waiting).filter((status) => status !== 200 && status !== 503)).toEqual([]);
    expect(expectOneToken(await scene.burst(browser, 2))).toBe(token);
    expect(provider.tokenCalls).toHaveLength(1);
    expect(fleet.events('commit.refused')).toEqual([]);
    await scene.expectAlive(browser);
  });

  test('C45: scripts flushed and no memory left: the commit is tried until it is accepted', async () => {
    const { scene } = shared;
    const { provider, fleet, redis } = scene;
    const browser = await scene.signedIn('fay');
    const admin = await redis.client();
    await scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const pending = scene.burst(browser, 2);
    const [call] = await provider.whenTokenCalls(1);
    await admin.sendCommand(['SCRIPT', 'FLUSH']);
    await admin.sendCommand(['CONFIG', 'SET', 'maxmemory', '1']);
    open();
    await fleet.process(scene.senderOf(call)).event('commit.retried');
    expect(await scene.version(browser)).toBe(1);
    await admin.sendCommand(['CONFIG', 'SET', 'maxmemory', '0']);
    const answers = await pending;
    // Who only waited was told at once that Redis takes nothing.
    expect(statuses(answers).filter((status) => status !== 200 && status !== 503)).toEqual([]);
    expectOneToken(await scene.burst(browser, 2));
    expect(await scene.version(browser)).toBe(2);
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
  });

  test('C46: Redis restored from an older snapshot: processes that saw the newer version challenge, the spent token stays unspent', async () => {
    const { scene } = shared;
    const { provider, fleet, redis } = scene;
    const browser = await scene.signedIn('gus');
    const admin = await redis.client();
    await admin.sendCommand(['SAVE']);
    await scene.expire();
    expectOneToken(await scene.burst(browser, 1));
    await redis.stop('SIGKILL');
    await redis.start();
    await scene.expire();
    provider.clearCalls();
    await until(async () => {
      const answers = await scene.burst(browser, 1);
      return statuses(answers).join() === '401';
    });
    expect(provider.tokenCalls).toEqual([]);
    expect(new Set(fleet.events('cache.older_version').map(({ process }) => process))).toEqual(
      new Set([0, 1, 2]),
    );
    await browser.login(fleet);
    fleet.share(browser);
    await scene.expectAlive(browser);
    // The old token was never presented: it would have ended the new grant too.
    await scene.expectAlive(browser);
  });
});
