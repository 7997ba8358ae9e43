import { expect, test } from '@jest/globals';
import { storeFactories } from '../support/store-factories.ts';
import { gate, pastExpiry, Stage, times, type User } from './get-token-stage.ts';

const stage = new Stage();

/** session-file-store ends a session without a length of its own after an hour. */
const DAY_MS = 24 * 3600 * 1000;

/** The refresh tokens that the token endpoint was shown, in order, and those that it gave. */
const spent = () => stage.provider.refreshCalls.map(({ params }) => params.refresh_token);
const issued = () => stage.provider.refreshCalls.map(({ answer }) => answer?.refresh_token);

test.each(storeFactories)(
  'A10: 200 parallel requests with an expired token make one call ($name)',
  async (factory) => {
    const { store } = stage.opened(await factory.open());
    const user = await stage.signIn({ store, session: { cookie: { maxAge: DAY_MS } } });
    pastExpiry();
    const replies = await times(200, () => user.getToken('a'));
    expect(replies.map(({ status }) => status)).toEqual(Array(200).fill(200));
    expect(new Set(replies.map(({ accessToken }) => accessToken)).size).toBe(1);
    expect(replies[0]?.accessToken).toBe(stage.provider.tokenCalls[0]?.answer?.access_token);
    expect(new Set(replies.map(({ expiresAt }) => expiresAt)).size).toBe(1);
    expect(stage.provider.tokenCalls).toHaveLength(1);
    await stage.expectAlive(user);
  },
);

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

test.each(storeFactories)(
  'A11: five scope sets in parallel are refreshed one after another ($name)',
  async (factory) => {
    const { store } = stage.opened(await factory.open());
    const user = await stage.signIn({ store, session: { cookie: { maxAge: DAY_MS } } });
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
    await stage.expectAlive(user);
  },
);

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
