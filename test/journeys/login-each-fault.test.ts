import { afterEach, expect, test } from '@jest/globals';
import { countingStore, DistantStore, type StoreFault } from '../support/stores.ts';
import { dataOf } from './session-slow-handler.ts';
import {
  atCallback,
  closeAll,
  openApp,
  openBrowser,
  openProvider,
  records,
  sessionId,
  signedIn,
  silent,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

/** Every call of the store in turn fails, from the callback's first to its last. */
test.each([
  ['an anonymous browser', false],
  ['the same user once more', true],
])('B35: %s: signed in, or as before, whichever call of the store fails', async (_title, isSignedIn) => {
  const provider = await openProvider();
  const store = countingStore(new DistantStore());
  const app = await openApp(provider, {
    store,
    routes: (routes) => {
      routes.get('/note', (req, res) => {
        dataOf(req).note ??= 'basket';
        res.json(req.oidc.account?.subject ?? null);
      });
    },
  });
  const handles = () => [...records(store)].filter(([, { oidc }]) => oidc !== undefined).map(([id]) => id);
  const statuses = new Set<number>();
  let calls = 0;
  for (let failing = 1; failing <= calls + 1; failing += 1) {
    const browser = isSignedIn ? await signedIn(app) : openBrowser();
    await browser.request(`${app.url}/note`);
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    const before = { id: sessionId(browser, app), who: await whoIs(browser, app) };
    const others = handles().filter((id) => id !== before.id);
    calls = 0;
    const fault = (): StoreFault | undefined => {
      calls += 1;
      return calls === failing ? 'fail' : undefined;
    };
    store.fault = { get: fault, set: fault, destroy: fault };
    const { status } = await browser.request(held!.url);
    store.fault = {};
    statuses.add(status);
    const id = sessionId(browser, app);
    const who = status === 302 ? 'signed in as alice' : before.who;
    expect([status, id === before.id]).toEqual(status === 302 ? [302, false] : [503, true]);
    expect([failing, await whoIs(browser, app)]).toEqual([failing, who]);
    expect(records(store).get(id!)).toMatchObject({ note: 'basket' });
    // No session but the browser's own says that somebody is signed in.
    expect(handles().filter((other) => !others.includes(other))).toEqual(who === 'anonymous' ? [] : [id]);
    if (who !== 'anonymous')
      expect(await silent(browser, app, 'force')).toMatchObject({ source: 'provider' });
  }
  expect([...statuses].sort()).toEqual([302, 503]);
});
