import { afterEach, expect, test } from '@jest/globals';
import { closeAll, expectEnded, openApp, openProvider, signedIn, whoIs } from './session-support.ts';

// What a browser fetches of GET /logout without its user having asked for it.

afterEach(closeAll);

async function open() {
  const app = await openApp(await openProvider());
  return { app, browser: await signedIn(app, { account: 'alice' }) };
}

const SAME_ORIGIN = { 'sec-fetch-site': 'same-origin' };

test.each(['image', 'iframe', 'style'])(
  'GET for an %s that another user put into a page of the app: still signed in',
  async (destination) => {
    const { app, browser } = await open();
    const markup = { ...SAME_ORIGIN, 'sec-fetch-dest': destination };
    expect((await browser.request(`${app.url}/logout`, { headers: markup })).status).toBe(200);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  },
);

test.each([
  ['same-origin', 'prefetch'],
  ['none', 'prefetch;prerender'],
])('GET from %s by %s: refused, still signed in; the visit signs out', async (site, purpose) => {
  const { app, browser } = await open();
  const visit = { 'sec-fetch-site': site, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  const ahead = { headers: { ...visit, 'sec-purpose': purpose } };
  expect((await browser.request(`${app.url}/logout`, ahead)).status).toBe(403);
  expect(await whoIs(browser, app)).toBe('signed in as alice');
  expect((await browser.request(`${app.url}/logout`, { headers: visit })).status).toBe(303);
  await expectEnded(browser, app);
});

test('GET by a script of the app: signed out', async () => {
  const { app, browser } = await open();
  const script = { ...SAME_ORIGIN, 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' };
  expect((await browser.request(`${app.url}/logout`, { headers: script })).status).toBe(303);
  await expectEnded(browser, app);
});
