import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { anyStores } from './engines.ts';
import { expectOneToken, LEASE_MS } from './setup.ts';

const REFRESH = { grantType: 'refresh_token' };

for (const [name, storeDescribe, openScene] of anyStores) {
  storeDescribe(`sessions in ${name}`, () => {
    test('C47: 4 processes, 12 expiries: 1 grant each', async () => {
      const scene = await openScene();
      const { provider } = scene;
      const browser = await scene.signedIn();
      for (let expiry = 1; expiry <= 12; expiry += 1) {
        await scene.expire();
        provider.clearCalls();
        // Half of the handlers write the session, which no save may roll back.
        const query = (n: number) => (n % 2 === 0 ? `note=${expiry}-${n}` : '');
        const token = expectOneToken(await scene.burst(browser, 4, { query }));
        expect(provider.tokenCalls.map(({ answer }) => answer?.access_token)).toEqual([token]);
      }
      expect(await scene.version(browser)).toBe(13);
      await scene.expectAlive(browser);
      await scene.expectSound();
    });

    test('C48, C41: the holder keeps its lock while the provider is slow; kill -9, and the others go on', async () => {
      const scene = await openScene({
        processes: 3,
        provider: { graceMs: 60_000 },
        auth: { callerTimeoutMs: 30_000 },
      });
      const { provider, fleet } = scene;
      const browser = await scene.signedIn();
      await scene.expire();
      provider.clearCalls();
      provider.script({ ...REFRESH, waitAfter: new Promise(() => {}) });
      const holding = scene.token(browser, 1);
      await provider.whenTokenCalls(1);
      await delay(1.1 * LEASE_MS);
      // These have come after the lock that was taken first.
      const pending = scene.burst(browser, 2, { processes: [0, 2] });
      await delay(500);
      expect(provider.tokenCalls).toHaveLength(1);
      fleet.process(1).kill('SIGKILL');
      scene.killed += 1;
      expectOneToken(await pending);
      expect((await holding).status).toBe(0);
      expect(provider.tokenCalls).toHaveLength(2);
      expect(fleet.events('lease.takeover')).toHaveLength(1);
      await scene.expectAlive(browser);
      await scene.expectSound();
    });
  });
}
