import { once } from 'node:events';
import { request } from 'node:http';
import { expect, test } from '@jest/globals';
import { surfaceRejections } from '../support/leaks.ts';
import {
  gate,
  intoHardLeeway,
  intoSoftLeeway,
  lastingKeys,
  pastExpiry,
  type Reply,
  Stage,
  times,
  type User,
} from './get-token-stage.ts';

const stage = new Stage();

const issuedToken = () => stage.provider.tokenCalls[0]?.answer?.access_token;

/** Asks again as long as the provider takes longer than the callers of these tests wait. */
async function patientToken(user: User): Promise<Reply> {
  let reply = await user.getToken('a');
  while (reply.status === 503) reply = await user.getToken('a');
  return reply;
}

/** The grant that a caller did not wait for was stored: its token is served, and its refresh token works. */
async function expectGrantWentOn(user: User): Promise<void> {
  expect(stage.provider.tokenCalls).toHaveLength(1);
  expect(await user.getToken('a')).toMatchObject({
    status: 200,
    accessToken: issuedToken(),
    source: 'cache',
  });
  pastExpiry();
  expect((await patientToken(user)).status).toBe(200);
  expect(stage.provider.refreshCalls).toHaveLength(2);
  expect(stage.provider.refreshCalls[1]?.params.refresh_token).toBe(
    stage.provider.refreshCalls[0]?.answer?.refresh_token,
  );
  await surfaceRejections();
}

test('A13: a caller does not wait longer than callerTimeoutMs, and the grant goes on', async () => {
  const user = await stage.signIn({ auth: { callerTimeoutMs: 50 } });
  pastExpiry();
  const slow = gate();
  stage.provider.script({ waitAfter: slow.opened });
  const replies = await times(3, () => user.getToken('a'));
  replies.push(await user.getToken('a'));
  for (const { status, headers } of replies) {
    expect(status).toBe(503);
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
    expect(headers).not.toHaveProperty('location');
  }
  const commit = user.whenCommitted();
  slow.open();
  await commit;
  await expectGrantWentOn(user);
});

test('A13: a caller that waited too long gets the token that is still good, and the grant goes on', async () => {
  const user = await stage.signIn({ auth: { callerTimeoutMs: 50 } });
  intoHardLeeway();
  const slow = gate();
  stage.provider.script({ wait: slow.opened });
  const { accessToken } = user.first;
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache', stale: true });
  const commit = user.whenCommitted();
  slow.open();
  await commit;
  await expectGrantWentOn(user);
});

test('A11: who waits for another grant does not wait longer either, and gets its own turn all the same', async () => {
  const user = await stage.signIn({ auth: { callerTimeoutMs: 50 } });
  pastExpiry();
  const slow = gate();
  stage.provider.script({ waitAfter: slow.opened });
  const replies = await Promise.all([user.getToken('a'), user.getToken('b')]);
  expect(replies.map(({ status }) => status)).toEqual([503, 503]);
  expect(stage.provider.tokenCalls).toHaveLength(1);
  slow.open();
  await stage.provider.whenTokenCalls(2);
  await user.whenCommitted();
  const both = await Promise.all([user.getToken('a'), user.getToken('b')]);
  expect(both).toMatchObject([{ source: 'cache' }, { source: 'cache' }]);
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test('A13: after a grant that timed out the next request starts another', async () => {
  const user = await stage.signIn({ auth: { callerTimeoutMs: 40, grantTimeoutMs: 120 } });
  pastExpiry();
  stage.provider.script({ hang: true });
  expect((await user.getToken('a')).status).toBe(503);
  expect((await patientToken(user)).status).toBe(200);
  expect(stage.provider.refreshCalls.map(({ params }) => params.refresh_token)).toEqual(
    Array(2).fill(user.first.refreshToken),
  );
});

test('A10: a client that disconnects during a refresh cancels nothing', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const slow = gate();
  stage.provider.script({ waitAfter: slow.opened });
  const url = user.url('a');
  const cookie = user.browser.cookies.header(new URL(url), { crossSite: false, safeNavigation: true });
  const impatient = request(url, { headers: { cookie } });
  impatient.on('error', () => {});
  const arrival = once(user.app.server, 'request');
  impatient.end();
  const [{ socket }] = await arrival;
  await stage.provider.whenTokenCalls(1);
  const gone = once(socket, 'close');
  impatient.destroy();
  await gone;
  const patient = user.getToken('a');
  const commit = user.whenCommitted();
  slow.open();
  await commit;
  expect(await patient).toMatchObject({ status: 200, accessToken: issuedToken() });
  await expectGrantWentOn(user);
});

test.each([
  ['that a caller waits for', pastExpiry, 'new'],
  ['in the background', intoSoftLeeway, 'old'],
] as const)('A10: close() waits for a grant %s until it is stored', async (_name, moment, served) => {
  const auth = lastingKeys();
  const user = await stage.signIn({ auth });
  moment();
  const slow = gate();
  stage.provider.script({ waitAfter: slow.opened });
  const pending = user.getToken('a');
  await stage.provider.whenTokenCalls(1);
  let isClosed = false;
  const closed = user.app.handle.close().then(() => {
    isClosed = true;
  });
  await surfaceRejections();
  expect(isClosed).toBe(false);
  slow.open();
  await closed;
  const { accessToken } = await pending;
  const elsewhere = await stage.restart(user, { auth });
  expect(accessToken).toBe(served === 'new' ? issuedToken() : user.first.accessToken);
  await expectGrantWentOn(elsewhere);
});

test('A10: close() lets no grant start that was waiting for its turn', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const slow = gate();
  stage.provider.script({ waitAfter: slow.opened });
  const first = user.getToken('a');
  await stage.provider.whenTokenCalls(1);
  const read = user.whenRead();
  const second = user.getToken('b');
  await read;
  const closed = user.app.handle.close();
  slow.open();
  await closed;
  expect(await first).toMatchObject({ status: 200, accessToken: issuedToken() });
  expect((await second).status).toBe(503);
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A10: after close() no grant is started, and tokens that are good are served', async () => {
  const user = await stage.signIn();
  await user.app.handle.close();
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken: user.first.accessToken });
  expect(await user.getToken({ scopes: 'a', forceRefresh: true })).toMatchObject({ stale: true });
  intoSoftLeeway();
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken: user.first.accessToken });
  pastExpiry();
  expect((await user.getToken('a')).status).toBe(503);
  await surfaceRejections();
  expect(stage.provider.tokenCalls).toHaveLength(0);
});
