import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { beforeEach, expect, test } from '@jest/globals';
import type { Browser } from '../support/browser.ts';
import { postgresEngine, redisEngine } from './engines.ts';
import {
  barrier,
  expectOneToken,
  LEASE_MS,
  redisScene,
  redisTest,
  type Scene,
  sharedScene,
  statuses,
  type TokenResponse,
  until,
} from './setup.ts';

const REFRESH = { grantType: 'refresh_token' };

/** Both engines; files would be the second one again. */
const engines = [redisEngine, postgresEngine];

/** Lets all processes ask for a token, and kills the one whose refresh request arrives at the provider. */
async function killHolder(scene: Scene, browser: Browser, isConsumed: boolean): Promise<TokenResponse[]> {
  const { provider, fleet } = scene;
  await scene.expire();
  provider.clearCalls();
  const never = new Promise<void>(() => {});
  provider.script(isConsumed ? { ...REFRESH, waitAfter: never } : { ...REFRESH, hang: true });
  const pending = fleet.processes.map(({ index }) => scene.burst(browser, 5, { processes: [index] }));
  const [call] = await provider.whenTokenCalls(1);
  if (isConsumed) await until(() => call?.answer !== undefined);
  const holder = scene.senderOf(call);
  fleet.process(holder).kill('SIGKILL');
  scene.killed += 1;
  return (await Promise.all(pending.filter((_answers, index) => index !== holder))).flat();
}

/** Asks process 1 for a token; what is returned closes the connection. */
function askAndLeave({ fleet }: Scene, browser: Browser): () => void {
  const { url } = fleet.process(1);
  const cookie = browser.cookies.header(new URL(url), { crossSite: false, safeNavigation: true });
  const req = request(`${url}/token`, { headers: { cookie } });
  req.on('error', () => {});
  req.end();
  return () => req.destroy();
}

/** Sooner than the eight seconds that a lease costs which is taken for forgotten. */
function expectWithinLease(answers: TokenResponse[]): void {
  expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThan(7500);
}

for (const [store, storeDescribe, openScene] of engines) {
  storeDescribe(`the process that refreshes, over ${store}`, () => {
    // A timed lock takes as long as its store needs: on a busy machine that is seconds.
    const expectSoon = store === 'Redis' ? expectWithinLease : () => {};
    const shared = sharedScene(() =>
      // On waking, timers come before sockets: with the usual six seconds a stopped process would send its callers away.
      openScene({ processes: 3, auth: { callerTimeoutMs: 60_000 } }),
    );

    beforeEach(async () => {
      await shared.scene.replaceKilled();
      shared.scene.provider.settings.graceMs = 0;
    });

    test('C41: kill -9 before the provider read its request: the others go on', async () => {
      const { scene } = shared;
      const browser = await scene.signedIn('ann');
      const answers = await killHolder(scene, browser, false);
      expectOneToken(answers);
      expectSoon(answers);
      expect(scene.provider.tokenCalls).toHaveLength(2);
      expect(scene.fleet.events('lease.takeover')).toHaveLength(1);
      await scene.expectAlive(browser);
    });

    test('C41: kill -9 after the provider consumed the token, strict: one rejected grant, all are challenged', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      const browser = await scene.signedIn('ben');
      const answers = await killHolder(scene, browser, true);
      expect(statuses(answers)).toEqual([401]);
      for (const { json } of answers) expect(json).toMatchObject({ error: 'interaction_required' });
      expectSoon(answers);
      expect(provider.tokenCalls.map(({ status }) => status)).toEqual([200, 400]);
      // Known to all of them: nobody presents it again.
      const again = fleet.processes.flatMap(({ isRunning, index }) => (isRunning ? [index] : []));
      expect(statuses(await scene.burst(browser, 2, { processes: again }))).toEqual([401]);
      expect(provider.tokenCalls).toHaveLength(2);
      await scene.replaceKilled();
      await browser.login(fleet);
      fleet.share(browser);
      await scene.expectAlive(browser);
    });

    test('C41: kill -9 after the provider consumed the token, with grace: all are answered', async () => {
      const { scene } = shared;
      const { provider } = scene;
      provider.settings.graceMs = 60_000;
      const browser = await scene.signedIn('cid');
      const answers = await killHolder(scene, browser, true);
      expectOneToken(answers);
      expectSoon(answers);
      expect(provider.tokenCalls).toHaveLength(2);
      await scene.expectAlive(browser);
    });

    test('C42: SIGSTOP beyond its lease: its successors commit; when it wakes, its own commit is refused', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      provider.settings.graceMs = 60_000;
      const browser = await scene.signedIn('dan');
      await scene.expire();
      provider.clearCalls();
      const refused = fleet.events('commit.refused').length;
      const waking = barrier();
      const renamed = (json: Record<string, unknown>) => ({
        ...json,
        access_token: `${json.access_token}-successor`,
      });
      provider.script({ ...REFRESH, waitAfter: waking.passed }, { ...REFRESH, mutate: renamed });
      const woken = scene.token(browser, 1);
      await provider.whenTokenCalls(1);
      fleet.process(1).kill('SIGSTOP');
      const token = expectOneToken(await scene.burst(browser, 3, { processes: [0, 2] }));
      expect(token).toMatch(/-successor$/);
      expect(provider.tokenCalls).toHaveLength(2);
      // And on: the holder wakes two versions behind.
      const newest = expectOneToken([await scene.token(browser, 2, 'force')]);
      expect(newest).not.toBe(token);
      expect(await scene.version(browser)).toBe(3);

      waking.open();
      fleet.process(1).kill('SIGCONT');
      expect(expectOneToken([await woken])).toBe(newest);
      expect(fleet.events('commit.refused').slice(refused)).toEqual([
        { process: 1, details: { by: 'newer' } },
      ]);
      expect(await scene.version(browser)).toBe(3);
      expect(provider.tokenCalls).toHaveLength(3);
      // Nobody revoked what the refused answer held: providers revoke the whole grant.
      expect(provider.revocations).toEqual([]);
      await scene.expectAlive(browser);
    });

    test('C43: SIGTERM during a grant: it is committed before the process ends, 1 grant', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      const browser = await scene.signedIn('eva');
      await scene.expire();
      provider.clearCalls();
      const { passed, open } = barrier();
      provider.script({ ...REFRESH, waitAfter: passed });
      // Nothing but close() keeps the process: its caller leaves.
      const leave = askAndLeave(scene, browser);
      const [call] = await provider.whenTokenCalls(1);
      leave();
      fleet.process(1).kill('SIGTERM');
      await fleet.process(1).when('closing', ({ type }) => type === 'closing');
      open();
      expect(await fleet.process(1).exited).toBe('code 0');
      expect(await scene.version(browser)).toBe(2);
      const { access_token: token } = call?.answer ?? {};
      expect((await scene.token(browser, 0)).json).toMatchObject({ accessToken: token, source: 'cache' });
      expect(provider.tokenCalls).toHaveLength(1);
      await scene.expectAlive(browser);
    });

    test('C43: SIGTERM while a second refresh waits for the first: that one is not begun any more', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      const browser = await scene.signedIn('fay');
      await scene.expire();
      provider.clearCalls();
      const { passed, open } = barrier();
      provider.script({ ...REFRESH, waitAfter: passed });
      const first = scene.token(browser, 1, 'scope=a');
      await provider.whenTokenCalls(1);
      const second = scene.token(browser, 1, 'scope=b');
      // The answer to another request after it: the second has been read, too.
      await browser.request(fleet.process(1).url);
      fleet.process(1).kill('SIGTERM');
      await fleet.process(1).when('closing', ({ type }) => type === 'closing');
      open();
      expect((await first).status).toBe(200);
      expect((await second).status).toBe(503);
      expect(await fleet.process(1).exited).toBe('code 0');
      expect(provider.tokenCalls).toHaveLength(1);
      await scene.expectAlive(browser);
    });
  });
}

redisTest(
  'C48: the token endpoint takes longer than a lease: callers are answered, the lease is kept, the grant commits',
  async () => {
    const callerTimeoutMs = 500;
    const scene = await redisScene({ processes: 3, auth: { callerTimeoutMs } });
    const { provider, fleet, watch } = scene;
    const browser = await scene.signedIn();
    await scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const leave = askAndLeave(scene, browser);
    await provider.whenTokenCalls(1);
    const startedAt = performance.now();
    await delay(100);
    leave();

    const answers = await scene.burst(browser, 3);
    expect(statuses(answers)).toEqual([503]);
    // Long after the lease that the holder took first: others still wait for it.
    await delay(1.2 * LEASE_MS - (performance.now() - startedAt));
    expect(statuses(await scene.burst(browser, 1))).toEqual([503]);
    expect(await watch.leases()).toBe(1);
    expect(provider.tokenCalls).toHaveLength(1);

    open();
    await until(async () => (await scene.version(browser)) === 2);
    const token = provider.tokenCalls[0]?.answer?.access_token;
    expect(expectOneToken(await scene.burst(browser, 1))).toBe(token);
    expect(provider.tokenCalls).toHaveLength(1);
    expect(fleet.events('lease.takeover')).toEqual([]);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);
