import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { Browser } from '../support/browser.ts';
import {
  barrier,
  expectOneToken,
  LEASE_MS,
  redisScene,
  redisTest,
  type Scene,
  statuses,
  type TokenResponse,
} from './setup.ts';

const REFRESH = { grantType: 'refresh_token' };

/** What the others may take after the holder's end: its lease, and five times the 300 ms of a quiet machine. */
const TAKEOVER_MS = LEASE_MS + 5 * 300;

interface Killed {
  /** What the surviving processes answered. */
  answers: TokenResponse[];
  afterMs: number;
}

/** Lets all processes ask for a token, and kills the one whose refresh request arrives at the provider. */
async function killHolder(scene: Scene, browser: Browser, isConsumed: boolean): Promise<Killed> {
  const { provider, fleet } = scene;
  await scene.expire();
  provider.clearCalls();
  const never = new Promise<void>(() => {});
  provider.script(isConsumed ? { ...REFRESH, waitAfter: never } : { ...REFRESH, hang: true });
  const pending = fleet.processes.map(({ index }) => scene.burst(browser, 5, { processes: [index] }));
  const [call] = await provider.whenTokenCalls(1);
  if (isConsumed) while (call?.answer === undefined) await delay(5);
  const holder = scene.senderOf(call);
  fleet.process(holder).kill('SIGKILL');
  scene.killed += 1;
  const killedAt = performance.now();
  const answers = (await Promise.all(pending.filter((_answers, index) => index !== holder))).flat();
  return { answers, afterMs: Math.round(performance.now() - killedAt) };
}

redisTest('C41: kill -9 of the holder before the provider read its request: the others go on', async () => {
  const scene = await redisScene({ processes: 3 });
  const browser = await scene.signedIn();
  const { answers, afterMs } = await killHolder(scene, browser, false);
  expectOneToken(answers);
  expect(afterMs).toBeLessThan(TAKEOVER_MS);
  expect(scene.provider.tokenCalls).toHaveLength(2);
  expect(scene.fleet.events('lease.takeover')).toHaveLength(1);
  await scene.expectAlive(browser);
  await scene.expectSound();
});

redisTest(
  'C41: kill -9 of the holder after the provider consumed the token, strict: one rejected grant, all are challenged',
  async () => {
    const scene = await redisScene({ processes: 3 });
    const { provider, fleet } = scene;
    const browser = await scene.signedIn();
    const { answers, afterMs } = await killHolder(scene, browser, true);
    expect(statuses(answers)).toEqual([401]);
    for (const { json } of answers) expect(json).toMatchObject({ error: 'interaction_required' });
    expect(afterMs).toBeLessThan(TAKEOVER_MS);
    expect(provider.tokenCalls.map(({ status }) => status)).toEqual([200, 400]);
    // Known to all of them: nobody presents it again.
    const again = fleet.processes.flatMap(({ isRunning, index }) => (isRunning ? [index] : []));
    expect(statuses(await scene.burst(browser, 2, { processes: again }))).toEqual([401]);
    expect(provider.tokenCalls).toHaveLength(2);
    if (!fleet.process(0).isRunning) await fleet.replace(0);
    await browser.login(fleet);
    fleet.share(browser);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);

redisTest(
  'C41: kill -9 of the holder after the provider consumed the token, with grace: all are answered',
  async () => {
    const scene = await redisScene({ processes: 3, provider: { graceMs: 10_000 } });
    const browser = await scene.signedIn();
    const { answers, afterMs } = await killHolder(scene, browser, true);
    expectOneToken(answers);
    expect(afterMs).toBeLessThan(TAKEOVER_MS);
    expect(scene.provider.tokenCalls).toHaveLength(2);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);

redisTest(
  'C42: SIGSTOP of the holder for three leases: its successors commit; when it wakes, its own commit is refused',
  async () => {
    // On waking, timers come before sockets: with the usual six seconds the caller would be sent away at that moment.
    const scene = await redisScene({
      processes: 3,
      provider: { graceMs: 60_000 },
      auth: { callerTimeoutMs: 60_000 },
    });
    const { provider, fleet, watch } = scene;
    const browser = await scene.signedIn();
    await scene.expire();
    provider.clearCalls();
    const waking = barrier();
    const renamed = (json: Record<string, unknown>) => ({
      ...json,
      access_token: `${json.access_token}-successor`,
    });
    provider.script({ ...REFRESH, waitAfter: waking.passed }, { ...REFRESH, mutate: renamed });
    const woken = scene.token(browser, 1);
    await provider.whenTokenCalls(1);
    fleet.process(1).kill('SIGSTOP');
    const stoppedAt = performance.now();
    const token = expectOneToken(await scene.burst(browser, 3, { processes: [0, 2] }));
    expect(token).toMatch(/-successor$/);
    expect(provider.tokenCalls).toHaveLength(2);
    // And on: the holder wakes two versions behind.
    const newest = expectOneToken([await scene.token(browser, 2, 'force')]);
    expect(newest).not.toBe(token);
    expect(await watch.version()).toBe(3);
    await delay(3 * LEASE_MS - (performance.now() - stoppedAt));

    waking.open();
    fleet.process(1).kill('SIGCONT');
    expect(expectOneToken([await woken])).toBe(newest);
    expect(fleet.events('commit.refused')).toEqual([{ process: 1, details: { by: 'newer' } }]);
    expect(await watch.version()).toBe(3);
    expect(provider.tokenCalls).toHaveLength(3);
    // Nobody revoked what the refused answer held: providers revoke the whole grant.
    expect(provider.revocations).toEqual([]);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);

redisTest('C43: SIGTERM during a grant: it is committed before the process ends, 1 grant', async () => {
  const scene = await redisScene({ processes: 2 });
  const { provider, fleet, watch } = scene;
  const browser = await scene.signedIn();
  await scene.expire();
  provider.clearCalls();
  const { passed, open } = barrier();
  provider.script({ ...REFRESH, waitAfter: passed });
  const pending = scene.token(browser, 1);
  await provider.whenTokenCalls(1);
  fleet.process(1).kill('SIGTERM');
  await fleet.process(1).when('closing', ({ type }) => type === 'closing');
  open();
  expect(await fleet.process(1).exited).toBe('code 0');
  expect(await watch.version()).toBe(2);
  // Its caller was not sent away either.
  const token = expectOneToken([await pending]);
  expect((await scene.token(browser, 0)).json).toMatchObject({ accessToken: token, source: 'cache' });
  expect(provider.tokenCalls).toHaveLength(1);
  await scene.expectAlive(browser);
  await scene.expectSound();
});

redisTest(
  'C43: SIGTERM while a second refresh waits for the first: that one is not begun any more',
  async () => {
    const scene = await redisScene({ processes: 2 });
    const { provider, fleet } = scene;
    const browser = await scene.signedIn();
    await scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const first = scene.token(browser, 1, 'scope=a');
    await provider.whenTokenCalls(1);
    const second = scene.token(browser, 1, 'scope=b');
    // The answer of another user's request after it: the second has been read, too.
    await browser.request(fleet.process(1).url);
    fleet.process(1).kill('SIGTERM');
    await fleet.process(1).when('closing', ({ type }) => type === 'closing');
    open();
    expect((await first).status).toBe(200);
    expect((await second).status).toBe(503);
    expect(await fleet.process(1).exited).toBe('code 0');
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);

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
    const leaving = request(`${fleet.process(1).url}/token`, {
      headers: {
        cookie: browser.cookies.header(new URL(fleet.url), { crossSite: false, safeNavigation: true }),
      },
    });
    leaving.end();
    leaving.on('error', () => {});
    await provider.whenTokenCalls(1);
    const startedAt = performance.now();
    await delay(100);
    leaving.destroy();

    const answers = await scene.burst(browser, 3);
    expect(statuses(answers)).toEqual([503]);
    for (const { tookMs } of answers) expect(tookMs).toBeLessThan(5 * callerTimeoutMs);
    // Long after the lease that the holder took first: others still wait for it.
    await delay(1.5 * LEASE_MS - (performance.now() - startedAt));
    expect(statuses(await scene.burst(browser, 1))).toEqual([503]);
    expect(await watch.leases()).toBe(1);
    expect(provider.tokenCalls).toHaveLength(1);

    open();
    while ((await watch.version()) < 2) await delay(10);
    const token = provider.tokenCalls[0]?.answer?.access_token;
    expect(expectOneToken(await scene.burst(browser, 1))).toBe(token);
    expect(provider.tokenCalls).toHaveLength(1);
    expect(fleet.events('lease.takeover')).toEqual([]);
    await scene.expectAlive(browser);
    await scene.expectSound();
  },
);
