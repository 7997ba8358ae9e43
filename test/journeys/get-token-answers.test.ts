import { expect, test } from '@jest/globals';
import { travel } from '../support/time.ts';
import { intoHardLeeway, pastExpiry, Stage } from './get-token-stage.ts';

const stage = new Stage();

const without = (name: string) => (answer: Record<string, unknown>) => {
  const { [name]: _, ...rest } = answer;
  return rest;
};

test('A8: no scope in the answer means what was asked for', async () => {
  stage.provider.script({ mutate: without('scope') });
  const user = await stage.signIn();
  expect(await user.getToken('z a')).toMatchObject({ accessToken: user.first.accessToken, source: 'cache' });
  pastExpiry();
  stage.provider.script({ mutate: without('scope') });
  const reply = await user.getToken('b a');
  expect(reply).toMatchObject({ status: 200, scopes: ['a', 'b'] });
  travel(61);
  expect(await user.getToken('a')).toMatchObject({ accessToken: reply.accessToken, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test.each<[string, (answer: Record<string, unknown>) => unknown, number]>([
  ['none', without('expires_in'), 300],
  ['a string', (answer) => ({ ...answer, expires_in: '1200' }), 1200],
  ['text', (answer) => ({ ...answer, expires_in: 'soon' }), 300],
  ['null', (answer) => ({ ...answer, expires_in: null }), 300],
  ['negative', (answer) => ({ ...answer, expires_in: -5 }), 300],
  ['absurd', (answer) => ({ ...answer, expires_in: 1e12 }), 300],
])('A8: expires_in: %s', async (_name, mutate, lifetime) => {
  stage.provider.script({ mutate });
  const user = await stage.signIn();
  const first = await user.getToken('a');
  expect(first).toMatchObject({ status: 200, accessToken: user.first.accessToken, source: 'cache' });
  expect(Math.abs(first.expiresAt! - (Date.now() / 1000 + lifetime))).toBeLessThan(5);
  travel(lifetime / 2);
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken });
  expect(stage.provider.tokenCalls).toHaveLength(0);
  travel(lifetime / 2);
  stage.provider.script({ mutate });
  const second = await user.getToken('a');
  expect(second).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
  travel(lifetime / 2);
  expect(await user.getToken('a')).toMatchObject({ accessToken: second.accessToken, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A8: defaultLifetime is an option', async () => {
  stage.provider.script({ mutate: without('expires_in') });
  const user = await stage.signIn({ auth: { defaultLifetime: 1000 } });
  travel(600);
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken, source: 'cache' });
  travel(399);
  expect(await user.getToken('a')).toMatchObject({ reason: 'expired' });
});

test.each<[string, (answer: Record<string, unknown>) => unknown]>([
  ['scope as an array', (answer) => ({ ...answer, scope: ['a', 'b'] })],
  ['scope with commas', (answer) => ({ ...answer, scope: 'a,b' })],
  ['scope with odd spaces', (answer) => ({ ...answer, scope: ' a  b ' })],
  ['scope: null', (answer) => ({ ...answer, scope: null })],
  ['no token_type', without('token_type')],
  ['token_type in lower case', (answer) => ({ ...answer, token_type: 'bearer' })],
  ['error: null', (answer) => ({ ...answer, error: null, error_description: null })],
  ['an empty error', (answer) => ({ ...answer, error: '' })],
  ['id_token: null', (answer) => ({ ...answer, id_token: null })],
  ['expires_in with a fraction', (answer) => ({ ...answer, expires_in: 3600.5 })],
  ['expires_in as an object', (answer) => ({ ...answer, expires_in: {} })],
  ['a member that nobody knows', (answer) => ({ ...answer, ext_expires_in: 9, foci: '1' })],
])('A8: an answer of a shape that others would refuse: %s', async (_name, mutate) => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script({ mutate });
  const reply = await user.getToken('a b');
  expect(reply).toMatchObject({ status: 200, source: 'provider', scopes: ['a', 'b'] });
  expect(reply.tokenType).toMatch(/^bearer$/i);
  expect(Number.isInteger(reply.expiresAt)).toBe(true);
  travel(61);
  expect(await user.getToken('b a')).toMatchObject({ accessToken: reply.accessToken, source: 'cache' });
  await stage.expectAlive(user);
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test.each([null, ''])('A9: refresh_token: %p keeps the old one', async (refresh_token) => {
  stage.provider.settings.rotate = false;
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script({ mutate: (answer) => ({ ...answer, refresh_token }) });
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  await stage.expectAlive(user);
  expect(stage.provider.refreshCalls[1]?.params.refresh_token).toBe(user.first.refreshToken);
});

test('A9: no refresh_token in the answer keeps the old one', async () => {
  stage.provider.settings.rotate = false;
  const user = await stage.signIn();
  for (let expiry = 0; expiry < 3; expiry += 1) {
    pastExpiry();
    stage.provider.script({ mutate: without('refresh_token') });
    expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  }
  const { refreshToken } = user.first;
  expect(stage.provider.refreshCalls.map(({ params }) => params.refresh_token)).toEqual(
    Array(3).fill(refreshToken),
  );
});

test('A9: a new refresh token takes the place of the old one, which is never sent again', async () => {
  const user = await stage.signIn();
  for (let expiry = 0; expiry < 4; expiry += 1) {
    pastExpiry();
    expect(await user.getToken(expiry % 2 === 0 ? 'a' : 'b')).toMatchObject({
      status: 200,
      source: 'provider',
    });
  }
  const { refreshCalls } = stage.provider;
  const sent = refreshCalls.map(({ params }) => params.refresh_token);
  const issued = refreshCalls.map(({ answer }) => answer?.refresh_token);
  expect(sent).toEqual([user.first.refreshToken, ...issued.slice(0, -1)]);
  expect(new Set(sent).size).toBe(4);
});

test('A9: a refresh token that is known to be expired is not sent', async () => {
  stage.provider.script({ mutate: (answer) => ({ ...answer, refresh_expires_in: 1800 }) });
  const user = await stage.signIn();
  intoHardLeeway();
  expect(await user.refusal('a')).toMatchObject({ reason: 'refresh_token_expired', status: 401 });
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A3: refresh_in of the provider says when to renew', async () => {
  stage.provider.script({ mutate: (answer) => ({ ...answer, refresh_in: 100 }) });
  const user = await stage.signIn();
  travel(99);
  await user.getToken('a');
  expect(stage.provider.tokenCalls).toHaveLength(0);
  travel(2);
  const commit = user.whenCommitted();
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken, source: 'cache' });
  await commit;
  const { access_token } = stage.provider.refreshCalls[0]?.answer ?? {};
  expect(await user.getToken('a')).toMatchObject({ accessToken: access_token, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});
