import { expect, test } from '@jest/globals';
import { Browser } from '../support/browser.ts';
import { travel } from '../support/time.ts';
import { intoHardLeeway, intoSoftLeeway, pastExpiry, Stage, type User } from './get-token-stage.ts';

const stage = new Stage();

const asksForPatience = (retryAfter: string, status = 429) => ({
  status,
  json: { error: 'too_many_requests' },
  headers: { 'retry-after': retryAfter },
});

async function expectRefused(user: User, atMost: number, request = {}): Promise<void> {
  const { status, headers } = await user.getToken({ scopes: 'a', ...request });
  expect(status).toBe(503);
  expect(headers).not.toHaveProperty('location');
  expect(Number(headers['retry-after'])).toBeGreaterThan(0);
  expect(Number(headers['retry-after'])).toBeLessThanOrEqual(atMost);
}

test.each([429, 503])(
  'A19: %i with Retry-After: 5: no call by anyone for 5 s, then again',
  async (status) => {
    const alice = await stage.signIn();
    const bob = await stage.join(alice, 'bob');
    pastExpiry();
    stage.provider.script(asksForPatience('5', status));
    const first = await alice.getToken('a');
    expect(first).toMatchObject({ status: 503, headers: { 'retry-after': '5' } });
    for (const seconds of [0, 2, 2.5]) {
      travel(seconds);
      await expectRefused(alice, 5);
      await expectRefused(alice, 5, { scopes: 'c' });
      await expectRefused(alice, 5, { forceRefresh: true });
      await expectRefused(bob, 5);
    }
    expect(stage.provider.tokenCalls).toHaveLength(1);
    travel(0.6);
    for (const user of [alice, bob])
      expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
    expect(stage.provider.refreshCalls.map(({ params }) => params.refresh_token)).toEqual([
      alice.first.refreshToken,
      alice.first.refreshToken,
      bob.first.refreshToken,
    ]);
  },
);

test('A19: a token that is still good is served meanwhile', async () => {
  const user = await stage.signIn();
  const { accessToken } = user.first;
  intoHardLeeway();
  stage.provider.script(asksForPatience('5'));
  for (let again = 0; again < 3; again += 1) {
    expect(await user.getToken('a')).toMatchObject({
      status: 200,
      accessToken,
      source: 'cache',
      stale: true,
    });
  }
  expect(await user.getToken({ scopes: 'a', forceRefresh: true })).toMatchObject({
    accessToken,
    stale: true,
  });
  expect(stage.provider.tokenCalls).toHaveLength(1);
  travel(5.1);
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
});

test('A19: what a renewal in the background is told holds for everyone', async () => {
  const user = await stage.signIn();
  const { accessToken } = user.first;
  intoSoftLeeway();
  stage.provider.script(asksForPatience('50'));
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache' });
  await stage.provider.whenTokenCalls(1);
  // A scope that no token holds has to wait for its turn, and then hears what the provider said.
  await expectRefused(user, 50, { scopes: 'read' });
  const reply = await user.getToken('a');
  expect(reply).toMatchObject({ status: 200, accessToken, source: 'cache' });
  expect(reply).not.toHaveProperty('stale');
  travel(20);
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache' });
  await expectRefused(user, 30, { scopes: 'read' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A19: Retry-After as a date', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script(asksForPatience(new Date(Date.now() + 20_000).toUTCString()));
  await expectRefused(user, 21);
  travel(15);
  await expectRefused(user, 6);
  expect(stage.provider.tokenCalls).toHaveLength(1);
  travel(6);
  expect(await user.getToken('a')).toMatchObject({ status: 200 });
});

test.each([
  ['60 s', {}, 60],
  ['maxRetryAfterMs', { maxRetryAfterMs: 10_000 }, 10],
])('A19: patience ends after %s, whatever the provider wants', async (_name, auth, seconds) => {
  const user = await stage.signIn({ auth });
  pastExpiry();
  stage.provider.script(asksForPatience('86400'));
  await user.getToken('a');
  travel(seconds - 1);
  await expectRefused(user, 1);
  expect(stage.provider.tokenCalls).toHaveLength(1);
  travel(1.1);
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
});

test.each([undefined, 'soon', '-3', '0'])('A19: Retry-After: %s holds nobody back', async (retryAfter) => {
  const user = await stage.signIn();
  pastExpiry();
  const { headers, ...fault } = asksForPatience(retryAfter ?? '');
  stage.provider.script(retryAfter === undefined ? fault : { ...fault, headers });
  const first = await user.getToken('a');
  expect(first.status).toBe(503);
  expect(Number(first.headers['retry-after'])).toBeGreaterThan(0);
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test('A19: logins go on meanwhile', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script(asksForPatience('30'));
  await expectRefused(user, 30);
  const browser = stage.opened(new Browser({ account: 'bob' }));
  const page = await browser.login(user.app);
  expect(page).toMatchObject({ status: 200, text: 'signed in as bob' });
  // … and do not end the provider's wish.
  await expectRefused(user, 30);
  expect(stage.provider.refreshCalls).toHaveLength(1);
});
