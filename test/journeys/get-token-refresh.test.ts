import { expect, test } from '@jest/globals';
import { surfaceRejections } from '../support/leaks.ts';
import { travel } from '../support/time.ts';
import {
  gate,
  intoHardLeeway,
  intoSoftLeeway,
  pastExpiry,
  Stage,
  times,
  type User,
} from './get-token-stage.ts';

const stage = new Stage();

/** The refresh tokens that the token endpoint was shown, in order. */
const spent = () => stage.provider.refreshCalls.map(({ params }) => params.refresh_token);
const issued = () => stage.provider.refreshCalls.map(({ answer }) => answer?.refresh_token);

/** Expires everything and refreshes once more: the user still has a refresh token that works. */
async function expectAlive(user: User): Promise<void> {
  pastExpiry();
  const before = stage.provider.tokenCalls.length;
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
  expect(stage.provider.tokenCalls).toHaveLength(before + 1);
}

test('A10: 200 parallel requests with an expired token make one call and get equal answers', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const replies = await times(200, () => user.getToken('a'));
  expect(replies.map(({ status }) => status)).toEqual(Array(200).fill(200));
  expect(new Set(replies.map(({ accessToken }) => accessToken)).size).toBe(1);
  expect(replies[0]?.accessToken).toBe(stage.provider.tokenCalls[0]?.answer?.access_token);
  expect(new Set(replies.map(({ expiresAt }) => expiresAt)).size).toBe(1);
  expect(stage.provider.tokenCalls).toHaveLength(1);
  await expectAlive(user);
});

test('A10: parallel requests of two users never share a token', async () => {
  const alice = await stage.signIn();
  const bob = await stage.join(alice, 'bob');
  pastExpiry();
  const replies = await times(20, async (index) => {
    const user = index % 2 === 0 ? alice : bob;
    return { user, ...(await user.getToken('a')) };
  });
  const of = (user: User) =>
    new Set(replies.filter((reply) => reply.user === user).map(({ accessToken }) => accessToken));
  expect([of(alice).size, of(bob).size]).toEqual([1, 1]);
  for (const [user, subject] of [
    [alice, 'alice'],
    [bob, 'bob'],
  ] as const) {
    const token = await stage.provider.oidc.AccessToken.find([...of(user)][0] ?? '');
    expect(token?.accountId).toBe(subject);
  }
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test('A11: parallel requests for five scope sets are refreshed one after another', async () => {
  const user = await stage.signIn();
  pastExpiry();
  let atProvider = 0;
  let most = 0;
  stage.provider.scriptAlways(() => {
    atProvider += 1;
    most = Math.max(most, atProvider);
    return {
      mutate: (answer) => {
        atProvider -= 1;
        return answer;
      },
    };
  });
  const sets = ['a', 'b c', 'x', 'y z', 'c z'];
  const replies = await times(5, (index) => user.getToken(sets[index]));
  expect(replies.map(({ status }) => status)).toEqual(Array(5).fill(200));
  expect(replies.map(({ scopes }) => scopes?.join(' '))).toEqual(sets);
  expect(new Set(replies.map(({ accessToken }) => accessToken)).size).toBe(5);
  expect(most).toBe(1);
  expect(stage.provider.tokenCalls.map(({ status }) => status)).toEqual(Array(5).fill(200));
  expect(spent()).toEqual([user.first.refreshToken, ...issued().slice(0, -1)]);
  stage.provider.scriptAlways(undefined);
  await expectAlive(user);
});

test('A11: a set that another flight has covered meanwhile is not asked for again', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const held = gate();
  stage.provider.script({ wait: held.opened });
  const wide = user.getToken('a b');
  await stage.provider.whenTokenCalls(1);
  const read = user.whenRead();
  const narrow = user.getToken('b');
  await read;
  held.open();
  expect((await narrow).accessToken).toBe((await wide).accessToken);
  expect(stage.provider.tokenCalls).toHaveLength(1);
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
  await expectAlive(user);
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
  await expectAlive(user);
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
    // Once from this process's memory, once from the store.
    travel(61);
  }
  expect(await user.getToken({ scopes: 'b', rejected })).not.toMatchObject({ accessToken: rejected });
  await expectAlive(user);
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
