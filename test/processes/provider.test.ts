import { expect, test } from '@jest/globals';
import { type FaultProxy, type ProxyFault, startFaultProxy } from '../support/fault-proxy.ts';
import {
  barrier,
  closing,
  expectOneToken,
  redisDescribe,
  redisScene,
  sharedScene,
  statuses,
} from './setup.ts';

const DAY_MS = 24 * 3_600_000;
const REFRESH = { grantType: 'refresh_token' };
const THROTTLED = { ...REFRESH, status: 429, headers: { 'retry-after': '5' }, json: { error: 'slow_down' } };

redisDescribe('a token endpoint in trouble', () => {
  let proxy: FaultProxy;
  const shared = sharedScene(async () => {
    const scene = await redisScene({ processes: 3, provider: { graceMs: DAY_MS } });
    const { provider } = scene;
    proxy = closing(await startFaultProxy(provider.port));
    provider.tamper.discovery = (document) => ({
      ...document,
      token_endpoint: `http://127.0.0.1:${proxy.port}/token`,
    });
    return scene;
  });

  test('A19: a Retry-After that one process was told holds for the others; afterwards they ask again', async () => {
    const { provider, fleet } = shared.scene;
    const browser = await shared.scene.signedIn('ann');
    await shared.scene.expire();
    provider.clearCalls();
    provider.script(THROTTLED);
    const first = await shared.scene.token(browser, 1);
    expect([first.status, first.headers['retry-after']]).toEqual([503, '5']);
    await fleet.travel(2);
    const second = await shared.scene.token(browser, 0);
    expect(second.status).toBe(503);
    // What is left of the five seconds.
    expect(['1', '2', '3']).toContain(second.headers['retry-after']);
    expect(statuses(await shared.scene.burst(browser, 3))).toEqual([503]);
    expect(provider.tokenCalls).toHaveLength(1);
    await fleet.travel(3);
    expectOneToken(await shared.scene.burst(browser, 3));
    expect(provider.tokenCalls).toHaveLength(2);
    await shared.scene.expectAlive(browser);
  });

  test('A19: many requests at many processes while the provider throttles: all are answered at once', async () => {
    const { provider, fleet } = shared.scene;
    const browser = await shared.scene.signedIn('ben');
    await shared.scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...THROTTLED, wait: passed });
    const pending = shared.scene.burst(browser, 10);
    await provider.whenTokenCalls(1);
    open();
    const answers = await pending;
    expect(statuses(answers)).toEqual([503]);
    // Told by the provider or by another process, and not by running out of patience, which takes six seconds.
    for (const { tookMs } of answers) expect(tookMs).toBeLessThan(5500);
    expect(provider.tokenCalls).toHaveLength(1);
    await fleet.travel(5);
    await shared.scene.expectAlive(browser);
  });

  test.each<[ProxyFault, { answered: number; calls: number }]>([
    // Sent once more, within the provider's grace.
    [
      { kind: 'reset-after-request', times: 1 },
      { answered: 200, calls: 2 },
    ],
    [
      { kind: 'reset-after-headers', times: 1 },
      { answered: 200, calls: 2 },
    ],
    [
      { kind: 'truncate', times: 1 },
      { answered: 200, calls: 2 },
    ],
    // Once more and no further; every process tries for itself.
    [{ kind: 'reset-after-request' }, { answered: 503, calls: 6 }],
    // Nothing was sent, so nothing was spent.
    [{ kind: 'refuse' }, { answered: 503, calls: 0 }],
  ])('%j: %j', async (fault, { answered, calls }) => {
    const { scene } = shared;
    const { provider } = scene;
    const browser = await scene.signedIn();
    await scene.expire();
    provider.clearCalls();
    await proxy.set(fault);
    const answers = await scene.burst(browser, 1);
    expect(statuses(answers)).toEqual([answered]);
    if (answered === 200) expectOneToken(answers);
    expect(provider.tokenCalls).toHaveLength(calls);
    await proxy.set(undefined);
    await scene.expectAlive(browser);
  });
});
