import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser, type PendingRequest } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { whoIs } from './attacks-support.ts';

// Session fixation where the attacker also began the login: the victim's browser has the attacker's session, and opens
// the attacker's authorization URL. The attacker knows the state, and not what the provider answers.

let provider: TestProvider;
let apps: { query: TestApp; form_post: TestApp };
let attacker: Browser;
let victim: Browser;

beforeAll(async () => {
  provider = await startProvider();
  apps = {
    query: await startApp({ provider }),
    form_post: await startApp({ provider, auth: { responseMode: 'form_post' } }),
  };
});
beforeEach(() => {
  attacker = new Browser({ account: 'mallory' });
});
afterEach(() => {
  attacker.close();
  victim.close();
});
afterAll(async () => {
  await apps.query.close();
  await apps.form_post.close();
  await provider.close();
});

/** The victim's way back to the app, not gone yet, and the state that the attacker knows. */
async function plant(app: TestApp): Promise<{ held: PendingRequest; state: string }> {
  const { headers } = await attacker.request(`${app.url}/login`);
  const authorization = new URL(String(headers.location));
  victim = new Browser({ account: 'alice', jar: attacker.cookies.clone() });
  const page = await victim.navigate(authorization, { stopAt: ({ pathname }) => pathname === '/callback' });
  provider.clearCalls();
  return { held: page.held as PendingRequest, state: String(authorization.searchParams.get('state')) };
}

test('a made-up answer while the victim’s is redeemed does not get the victim’s session', async () => {
  const app = apps.query;
  const { held, state } = await plant(app);
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  provider.script({ waitAfter: passed });
  const signedIn = victim.navigate(held);
  await provider.whenTokenCalls(1);
  const guesses = ['&code=guess', ''].map((rest) =>
    attacker.request(`${app.url}/callback?state=${state}${rest}`),
  );
  // They have to load the session that they were planted with before it gets another id.
  await attacker.request(app.url);
  open();
  expect((await signedIn).text).toBe('signed in as alice');
  await Promise.all(guesses);
  expect(await whoIs(attacker, app)).toBe('anonymous');
  expect(provider.tokenCalls).toHaveLength(1);
});

test('an answer that was posted and set aside is fetched by nobody but the victim', async () => {
  const app = apps.form_post;
  const { held, state } = await plant(app);
  const posted = await victim.navigate(held, { stopAt: (_url, method) => method === 'GET' });
  expect(posted.hops).toMatchObject([{ method: 'POST', status: 303 }]);
  for (const value of ['1', '', state])
    await attacker.request(`${app.url}/callback?${new URLSearchParams({ form_post: value, state })}`);
  expect(await whoIs(attacker, app)).toBe('anonymous');
  expect((await victim.navigate(posted.held as PendingRequest)).text).toBe('signed in as alice');
  expect(await whoIs(attacker, app)).toBe('anonymous');
});
