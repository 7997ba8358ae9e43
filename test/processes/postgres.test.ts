import { setTimeout as delay } from 'node:timers/promises';
import { beforeEach, expect, test } from '@jest/globals';
import { postgresDescribe, postgresScene } from './engines.ts';
import { barrier, closing, expectOneToken, sharedScene, statuses, tokenAt, until } from './setup.ts';

const REFRESH = { grantType: 'refresh_token' };

/** The longest deadline, a save's two seconds, and as much again for a busy machine. */
const SOON_MS = 4000;

interface SlowAnswer {
  before?: { accessToken: string };
  after?: { accessToken: string };
}

postgresDescribe('PostgreSQL goes away and comes back', () => {
  const shared = sharedScene(() => postgresScene({ processes: 3, hasUsualDeadlines: true, isProxied: true }));

  /** Until every process has a connection again. */
  const recovered = (answers: () => Promise<{ status: number }[]>) =>
    until(async () => (await answers()).every(({ status }) => status === 200));

  beforeEach(() => shared.scene.replaceKilled());

  test.each([
    ['stopped at once', 'ann'],
    ['not answering any more', 'ben'],
  ])(
    'C44: %s: a token in memory is served, all else is a 503 in time, and nothing is lost',
    async (how, account) => {
      const { scene } = shared;
      const { provider, fleet, postgres, proxy } = scene;
      const isStopped = how === 'stopped at once';
      const browser = await scene.signedIn(account);
      const warm = expectOneToken(await scene.burst(browser, 1));
      // On a connection of its own: Express cuts it when the session cannot be touched after the answer.
      const inside = closing(browser.clone()).fetchJson(
        `${fleet.process(1).url}/slow/${account}?before&after`,
      );
      await fleet.process(1).at(account);
      await (isStopped ? postgres.stop() : proxy.set({ kind: 'blackhole' }));
      fleet.process(1).open(account);
      const { before, after } = (await inside).json as SlowAnswer;
      expect([before?.accessToken, after?.accessToken]).toEqual([warm, warm]);
      await scene.expire();
      provider.clearCalls();
      const answers = await scene.burst(browser, 2);
      expect(statuses(answers)).toEqual([503]);
      for (const { headers, tookMs } of answers) {
        expect(headers['retry-after']).toMatch(/^\d+$/);
        expect(tookMs).toBeLessThan(SOON_MS);
      }
      expect(provider.tokenCalls).toEqual([]);
      await (isStopped ? postgres.start() : proxy.set(undefined));
      await recovered(() => scene.burst(browser, 1));
      expect(provider.tokenCalls).toHaveLength(1);
      await scene.expectAlive(browser);
    },
  );

  test('C45: stopped between the provider’s answer and the commit: it is tried until the new token is stored', async () => {
    const { scene } = shared;
    const { provider, fleet, postgres } = scene;
    const browser = await scene.signedIn('cid');
    await scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const pending = scene.token(browser, 1);
    const [call] = await provider.whenTokenCalls(1);
    await until(() => call?.answer !== undefined);
    await postgres.stop();
    const retried = fleet.process(1).events('commit.retried').length;
    open();
    await until(() => fleet.process(1).events('commit.retried').length > retried);
    await postgres.start();
    expect(await pending).toMatchObject({ status: 200, json: { accessToken: call?.answer?.access_token } });
    expect(await scene.version(browser)).toBe(2);
    await recovered(() => scene.burst(browser, 1));
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
  });

  test('C44: away while its lock is waited for: 503 for those that wait, no second grant', async () => {
    const { scene } = shared;
    const { provider, postgres } = scene;
    const browser = await scene.signedIn('dan');
    await scene.expire();
    provider.clearCalls();
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const held = scene.token(browser, 1);
    await provider.whenTokenCalls(1);
    const waiting = scene.burst(browser, 2, { processes: [0, 2] });
    // They look for the lock when somebody waits at each of them.
    await delay(300);
    await postgres.stop();
    expect(statuses(await waiting)).toEqual([503]);
    await postgres.start();
    open();
    expect((await held).status).toBe(200);
    await recovered(() => scene.burst(browser, 1));
    expect(provider.tokenCalls).toHaveLength(1);
    await scene.expectAlive(browser);
  });

  test('a process that starts while it is away serves as soon as it is back', async () => {
    const { scene } = shared;
    const { fleet, postgres } = scene;
    const browser = await scene.signedIn('eva');
    const token = expectOneToken(await scene.burst(browser, 1));
    await postgres.stop();
    fleet.process(2).kill('SIGTERM');
    const fresh = await fleet.replace(2);
    // express-session fails on it, and the package has not seen its store yet.
    expect((await tokenAt(browser, `${fresh.url}/token`)).status).toBe(500);
    await postgres.start();
    await recovered(() => scene.burst(browser, 1));
    expect(expectOneToken(await scene.burst(browser, 1))).toBe(token);
    await scene.expectAlive(browser);
  });
});
