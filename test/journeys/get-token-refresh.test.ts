import { expect, test } from '@jest/globals';
import { surfaceRejections } from '../support/leaks.ts';
import { now, travel } from '../support/time.ts';
import { gate, intoHardLeeway, intoSoftLeeway, pastExpiry, Stage, times } from './get-token-stage.ts';

const stage = new Stage();

/** The refresh tokens that the token endpoint was shown, in order. */
const spent = () => stage.provider.refreshCalls.map(({ params }) => params.refresh_token);

test('A12: above the soft leeway nothing is renewed', async () => {
  const user = await stage.signIn();
  travel(3600 - 365);
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken, source: 'cache' });
  await user.app.handle.close();
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A12: inside the soft leeway everyone gets the old token at once, and one call renews it', async () => {
  const user = await stage.signIn();
  const { accessToken } = user.first;
  intoSoftLeeway();
  const slow = gate();
  stage.provider.script({ waitAfter: slow.opened });
  const replies = await times(20, () => user.getToken('a'));
  await stage.provider.whenTokenCalls(1);
  replies.push(await user.getToken('a'));
  for (const reply of replies) {
    expect(reply).toMatchObject({ status: 200, accessToken, source: 'cache' });
    expect(reply).not.toHaveProperty('stale');
  }
  const commit = user.whenCommitted();
  slow.open();
  await commit;
  const fresh = await user.getToken('a');
  expect(fresh.accessToken).toBe(stage.provider.tokenCalls[0]?.answer?.access_token);
  expect(fresh).toMatchObject({ status: 200, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
  await stage.expectAlive(user);
});

test('A12: nobody notices a renewal in the background that fails', async () => {
  const user = await stage.signIn();
  const { accessToken } = user.first;
  intoSoftLeeway();
  stage.provider.scriptAlways({ status: 500, body: '<h1>broken</h1>' });
  for (let second = 0; second < 3; second += 1) {
    expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache' });
    await stage.provider.whenTokenCalls(2);
    travel(1);
  }
  await surfaceRejections();
  // Not one try per request while the provider is down …
  expect(stage.provider.tokenCalls).toHaveLength(2);
  expect(user.app.logs.filter(({ level }) => level === 'error')).toEqual([]);
  // … and again after a pause.
  stage.provider.scriptAlways(undefined);
  travel(30);
  const commit = user.whenCommitted();
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken });
  await commit;
  expect((await user.getToken('a')).accessToken).not.toBe(accessToken);
  expect(new Set(spent().slice(0, 3))).toEqual(new Set([user.first.refreshToken]));
});

test('A12: a refresh token that is rejected in the background costs nobody the token that is good', async () => {
  const user = await stage.signIn();
  const { accessToken } = user.first;
  intoSoftLeeway();
  stage.provider.script({ status: 400, json: { error: 'invalid_grant' } });
  const commit = user.whenCommitted();
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken });
  await commit;
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache' });
  await surfaceRejections();
  pastExpiry();
  expect(await user.refusal('a')).toMatchObject({
    name: 'InteractionRequiredError',
    reason: 'no_refresh_token',
  });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A20: forceRefresh asks the provider once', async () => {
  const user = await stage.signIn();
  await user.getToken('a');
  const reply = await user.getToken({ scopes: 'a', forceRefresh: true });
  expect(reply).toMatchObject({ status: 200, source: 'provider', reason: 'forced' });
  expect(reply.accessToken).not.toBe(user.first.accessToken);
  expect(stage.provider.tokenCalls).toHaveLength(1);
  expect(await user.getToken('a')).toMatchObject({ accessToken: reply.accessToken, source: 'cache' });
  const again = await user.getToken({ scopes: 'a', forceRefresh: true });
  expect(again).toMatchObject({ source: 'provider', reason: 'forced' });
  expect(stage.provider.tokenCalls).toHaveLength(2);
  await stage.expectAlive(user);
});

test('A20: who forces a refresh does not join those who only need a token', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const held = gate();
  stage.provider.script({ wait: held.opened });
  const wide = user.getToken('a b');
  await stage.provider.whenTokenCalls(1);
  const waits = async (request: { forceRefresh: boolean }) => {
    const read = user.whenRead();
    const reply = user.getToken({ scopes: 'b', ...request });
    await read;
    return { reply };
  };
  const plain = await waits({ forceRefresh: false });
  const forced = await waits({ forceRefresh: true });
  held.open();
  expect((await plain.reply).accessToken).toBe((await wide).accessToken);
  expect(await forced.reply).toMatchObject({ status: 200, source: 'provider', reason: 'forced' });
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test('A20: a hundred callers that report the same rejected token make one call', async () => {
  const user = await stage.signIn();
  const rejected = user.first.accessToken;
  await user.getToken('a');
  const replies = await times(100, () => user.getToken({ scopes: 'a', rejected }));
  const fresh = stage.provider.tokenCalls[0]?.answer?.access_token;
  expect(replies.map(({ accessToken }) => accessToken)).toEqual(Array(100).fill(fresh));
  expect(replies[0]).toMatchObject({ status: 200, source: 'provider', reason: 'forced' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
  for (let again = 0; again < 2; again += 1) {
    const late = await user.getToken({ scopes: 'a', rejected });
    expect(late).toMatchObject({ accessToken: fresh, source: 'cache' });
    travel(61);
  }
  expect(await user.getToken({ scopes: 'b', rejected })).not.toMatchObject({ accessToken: rejected });
  await stage.expectAlive(user);
});

test('A20: an older token that would do as well is not served for a rejected one', async () => {
  const user = await stage.signIn();
  const older = user.first.accessToken;
  const { accessToken: rejected = '' } = await user.getToken({ scopes: 'a', forceRefresh: true });
  expect((await user.getToken('a b')).accessToken).toBe(older);
  travel(1);
  stage.provider.tokenCalls.length = 0;
  const reply = await user.getToken({ scopes: 'a', rejected });
  expect(reply).toMatchObject({ status: 200, source: 'provider', reason: 'forced' });
  // Whoever was refused the older one gets the newest without a call.
  expect(await user.getToken({ scopes: 'a', rejected: older })).toMatchObject({
    accessToken: reply.accessToken,
    source: 'cache',
  });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A20: a token that was forced is the one that is served, also when it ends in the same second as the older', async () => {
  const user = await stage.signIn();
  const { expiresAt = 0 } = await user.getToken('a');
  const endingTogether = { mutate: (json: object) => ({ ...json, expires_in: expiresAt - now() }) };
  stage.provider.script(endingTogether);
  const { accessToken: forced = '' } = await user.getToken({ scopes: 'a', forceRefresh: true });
  travel(61);
  expect(await user.getToken('a')).toMatchObject({ accessToken: forced, source: 'cache' });
  stage.provider.script(endingTogether);
  const replies = await times(20, () => user.getToken({ scopes: 'a', rejected: forced }));
  const { accessToken: newest } = await user.getToken({ scopes: 'a', rejected: forced });
  expect(new Set(replies.map(({ accessToken }) => accessToken))).toEqual(new Set([newest]));
  expect([forced, user.first.accessToken]).not.toContain(newest);
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test('A20: reporting some other token changes nothing', async () => {
  const user = await stage.signIn();
  const reply = await user.getToken({ scopes: 'a', rejected: 'of-another-api' });
  expect(reply).toMatchObject({ accessToken: user.first.accessToken, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A20: a rejected token is not what is served when the provider is down', async () => {
  const user = await stage.signIn();
  stage.provider.scriptAlways({ status: 503, body: '' });
  const reply = await user.getToken({ scopes: 'a', rejected: user.first.accessToken });
  expect(reply.status).toBe(503);
  // Who only wanted a newer one keeps the one that is good.
  const forced = await user.getToken({ scopes: 'a', forceRefresh: true });
  expect(forced).toMatchObject({ status: 200, accessToken: user.first.accessToken, stale: true });
});

test('A3: a refresh needs the provider, but not for the other scopes of a token that is good', async () => {
  const user = await stage.signIn();
  pastExpiry();
  await user.getToken('a b');
  intoHardLeeway();
  const reply = await user.getToken('b');
  expect(reply).toMatchObject({ source: 'provider', reason: 'expired', scopes: ['b'] });
  expect(await user.getToken('b')).toMatchObject({ accessToken: reply.accessToken, source: 'cache' });
});
