import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { TAKE } from '../../src/storage/redis-scripts.ts';
import type { Browser, PendingRequest } from '../support/browser.ts';
import { anyStores, redisEngine } from './engines.ts';
import {
  barrier,
  closing,
  redisScene,
  redisTest,
  type Scene,
  sharedScene,
  statuses,
  until,
} from './setup.ts';

const REFRESH = { grantType: 'refresh_token' };

/** The way back from the provider, for a login that process 0 started, to the door of process `to`. */
async function callback(scene: Scene, browser: Browser): Promise<(to: number) => PendingRequest> {
  const { fleet } = scene;
  const page = await browser.login(fleet, '/', { stopAt: ({ pathname }) => pathname === '/callback' });
  const held = page.held as PendingRequest;
  fleet.share(browser);
  return (to) => ({ ...held, url: held.url.replace(fleet.url, fleet.process(to).url) });
}

async function whoIs(browser: Browser, scene: Scene, process: number): Promise<{ subject: string | null }> {
  return JSON.parse((await browser.request(scene.fleet.process(process).url)).text);
}

/** Logs out at process 0; nothing is left then of this user, at no process. */
async function logOut(scene: Scene, browser: Browser): Promise<{ expectLoggedOut: () => Promise<void> }> {
  const caches = await scene.watch.caches();
  expect((await browser.navigate(`${scene.fleet.url}/logout`)).status).toBe(200);
  return {
    async expectLoggedOut() {
      for (const { index } of scene.fleet.processes)
        expect(await whoIs(browser, scene, index)).toEqual({ subject: null, note: null });
      expect(statuses(await scene.burst(browser, 1))).toEqual([401]);
      expect(await scene.watch.caches()).toBe(caches - 1);
    },
  };
}

/** Lets the user's token expire, and process 1 refresh it: the provider has answered, and the answer waits for `open`. */
async function refreshInFlight(scene: Scene, browser: Browser) {
  const { provider } = scene;
  await scene.expire();
  provider.clearCalls();
  const { passed, open } = barrier();
  provider.script({ ...REFRESH, waitAfter: passed });
  const pending = scene.token(browser, 1);
  const [call] = await provider.whenTokenCalls(1);
  await until(() => call?.answer !== undefined);
  return { pending, open, refreshToken: call?.answer?.refresh_token };
}

/** In Redis scripts keep the processes apart, in other stores a timed lock does. */
const engines = [redisEngine, ...anyStores];

redisTest('B32: two processes about to take the same login at the same moment: one redemption', async () => {
  const scene = await redisScene({ processes: 2, isProxied: true });
  const { provider, proxy } = scene;
  const browser = scene.browser();
  const request = await callback(scene, browser);
  const { passed, open } = barrier();
  provider.script({ waitAfter: passed });
  await proxy.set({ kind: 'blackhole', matching: TAKE.sha1 });
  const both = proxy.whenRequests(2, TAKE.sha1);
  const pages = [closing(browser.clone()), closing(browser.clone())].map((client, to) =>
    client.navigate(request(to)),
  );
  await both;
  await proxy.set(undefined);
  await provider.whenTokenCalls(1);
  open();
  for (const page of await Promise.all(pages))
    expect(JSON.parse(page.text)).toMatchObject({ subject: 'alice' });
  expect(provider.tokenCalls).toHaveLength(1);
  await scene.expectSound();
});

for (const [engine, engineDescribe, openScene] of engines) {
  engineDescribe(`over ${engine}`, () => {
    const shared = sharedScene(() => openScene({ processes: 2 }));

    test('a login that begins at one process and comes back to another', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      const browser = scene.browser('ann');
      const request = await callback(scene, browser);
      const page = await browser.navigate(request(1));
      expect(page.url).toBe(`${fleet.process(1).url}/`);
      expect(JSON.parse(page.text)).toMatchObject({ subject: 'ann' });
      fleet.share(browser, 1);
      expect(await whoIs(browser, scene, 0)).toMatchObject({ subject: 'ann' });
      expect(provider.tokenCalls).toHaveLength(1);
      await scene.expectAlive(browser);
    });

    test('B32: one callback sent to two processes at once: one redemption, either answer is signed in', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      const browser = scene.browser('ben');
      const request = await callback(scene, browser);
      // Two clients with the same cookies: each keeps one answer only.
      const clients = [closing(browser.clone()), closing(browser.clone())];
      provider.clearCalls();
      const { passed, open } = barrier();
      provider.script({ waitAfter: passed });
      const pages = clients.map((client, to) => client.navigate(request(to)));
      await provider.whenTokenCalls(1);
      // Both have to load the session before one of them gives it another id.
      await delay(500);
      open();
      for (const page of await Promise.all(pages))
        expect([page.status, JSON.parse(page.text)]).toMatchObject([200, { subject: 'ben' }]);
      expect(provider.tokenCalls).toHaveLength(1);
      const ids = clients.map((client, at) => client.cookies.get(fleet.process(at).url, 'connect.sid'));
      expect(ids[1]).toBe(ids[0]);
      for (const [at, client] of clients.entries()) {
        fleet.share(client, at);
        await scene.expectAlive(client);
      }
    });

    test('another answer with the same state and session, sent to another process: not signed in by it', async () => {
      const { scene } = shared;
      const { provider } = scene;
      const browser = scene.browser('bob');
      const request = await callback(scene, browser);
      const attacker = closing(browser.clone());
      provider.clearCalls();
      const { passed, open } = barrier();
      provider.script({ waitAfter: passed });
      const signedIn = browser.navigate(request(0));
      await provider.whenTokenCalls(1);
      const guess = new URL(request(1).url);
      guess.searchParams.set('code', 'guess');
      const guessed = attacker.request(guess);
      // It has to load the session before that gets another id.
      await delay(500);
      open();
      expect(JSON.parse((await signedIn).text)).toMatchObject({ subject: 'bob' });
      await guessed;
      expect(await whoIs(attacker, scene, 1)).toMatchObject({ subject: null });
      expect(provider.tokenCalls).toHaveLength(1);
    });

    test('B36: logout on one process while another refreshes: logged out for good, the new token revoked', async () => {
      const { scene } = shared;
      const { provider } = scene;
      const browser = await scene.signedIn('cid');
      const { pending, open, refreshToken } = await refreshInFlight(scene, browser);
      const { expectLoggedOut } = await logOut(scene, browser);
      open();
      expect((await pending).status).toBe(401);
      await until(() => provider.revocations.some(({ token }) => token === refreshToken));
      await expectLoggedOut();
      expect(provider.tokenCalls).toHaveLength(1);
    });

    test.each([
      ['saves it with another field', '?note=late'],
      ['only touches it', ''],
    ])(
      'B36: a handler loaded the session before a logout on another process, and %s after it',
      async (_title, query) => {
        const { scene } = shared;
        const { fleet } = scene;
        const browser = await scene.signedIn('dan');
        const slow = browser.fetchJson(`${fleet.process(1).url}/slow/${query.length}${query}`);
        await fleet.process(1).at(`${query.length}`);
        const { expectLoggedOut } = await logOut(scene, browser);
        fleet.process(1).open(`${query.length}`);
        expect((await slow).status).toBe(200);
        await expectLoggedOut();
      },
    );

    test('B36: another login on one process while another refreshes: signed in, alive', async () => {
      const { scene } = shared;
      const { provider, fleet } = scene;
      const browser = await scene.signedIn('eva');
      const { pending, open } = await refreshInFlight(scene, browser);
      const page = await browser.login(fleet);
      expect(JSON.parse(page.text)).toMatchObject({ subject: 'eva' });
      const login = provider.tokenCalls[1]?.answer?.access_token;
      open();
      // The refresh gives way to the login, and its caller gets the login's token.
      expect(await pending).toMatchObject({ status: 200, json: { accessToken: login } });
      fleet.share(browser);
      expect((await scene.token(browser, 1)).json.accessToken).toBe(login);
      await scene.expectAlive(browser);
      await scene.expectAlive(browser);
    });

    test('B36: the very first request of a process loads the session, and saves it after a logout', async () => {
      const { scene } = shared;
      const { fleet } = scene;
      const browser = await scene.signedIn('fay');
      fleet.process(1).kill('SIGTERM');
      const fresh = await fleet.replace(1);
      const slow = browser.fetchJson(`${fresh.url}/slow/first?note=late`);
      await fresh.at('first');
      const { expectLoggedOut } = await logOut(scene, browser);
      fresh.open('first');
      expect((await slow).status).toBe(200);
      await expectLoggedOut();
    });
  });
}
