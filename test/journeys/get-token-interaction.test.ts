import { expect, test } from '@jest/globals';
import { MemoryStore } from 'express-session';
import { expectNoSecrets } from '../support/leaks.ts';
import { travel } from '../support/time.ts';
import { intoHardLeeway, lastingKeys, pastExpiry, Stage, type User } from './get-token-stage.ts';

const stage = new Stage();

const sent = () => stage.provider.refreshCalls.map(({ params }) => params.refresh_token);
const moments = [
  ['inside the hard leeway', intoHardLeeway],
  ['expired', pastExpiry],
] as const;

async function expectChallenge(user: User, scopes = 'a'): Promise<void> {
  const reply = await user.getToken(scopes);
  expect(reply).toMatchObject({ status: 401, error: 'interaction_required', scopes: [scopes] });
  expect(reply.headers).not.toHaveProperty('location');
}

test.each(moments)(
  'A14: invalid_grant, the token %s: the refresh token is gone, at once and for good',
  async (_name, moment) => {
    const auth = lastingKeys();
    const user = await stage.signIn({ auth });
    moment();
    const grant = await stage.provider.oidc.RefreshToken.find(user.first.refreshToken);
    stage.provider.storage.revokeGrant(grant?.grantId ?? '');
    await expectChallenge(user);
    expect(stage.provider.refreshCalls.map(({ answer }) => answer?.error)).toEqual(['invalid_grant']);
    await expectChallenge(user);
    await expectChallenge(user, 'c');
    expect(await user.refusal('a')).toMatchObject({
      name: 'InteractionRequiredError',
      reason: 'no_refresh_token',
    });
    // Another process finds it gone too: it was stored.
    const elsewhere = await stage.restart(user, { auth });
    await expectChallenge(elsewhere);
    expect(sent()).toEqual([user.first.refreshToken]);
  },
);

test('A14: invalid_grant costs no token that is still good', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const a = await user.getToken('a');
  travel(61);
  stage.provider.script({ status: 400, json: { error: 'invalid_grant' } });
  await expectChallenge(user, 'c');
  expect(await user.getToken('a')).toMatchObject({
    status: 200,
    accessToken: a.accessToken,
    source: 'cache',
  });
  intoHardLeeway();
  await expectChallenge(user, 'a');
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

const errors = [
  'interaction_required',
  'login_required',
  'consent_required',
  'account_selection_required',
  'mfa_required',
  'insufficient_user_authentication',
];
const claims = '{"id_token":{"acr":{"essential":true,"value":"mfa"}}}';
const wantsUser: [name: string, status: number, json: Record<string, unknown>][] = [
  ...errors.map((error): [string, number, Record<string, unknown>] => [error, 400, { error, claims }]),
  ...errors.map((suberror): [string, number, Record<string, unknown>] => [
    `invalid_grant, suberror ${suberror}`,
    400,
    { error: 'invalid_grant', suberror, claims },
  ]),
  ['claims as an object', 400, { error: 'interaction_required', claims: JSON.parse(claims) }],
  ['interaction_required as 401', 401, { error: 'interaction_required', claims }],
  ['interaction_required as 403', 403, { error: 'interaction_required', claims }],
];

test.each(wantsUser)(
  'A15: %s: the user is asked, and the refresh token stays',
  async (_name, status, json) => {
    const user = await stage.signIn();
    intoHardLeeway();
    stage.provider.scriptAlways({ status, json });
    await expectChallenge(user);
    expect(sent()).toHaveLength(1);
    travel(31);
    expect(await user.refusal('a')).toMatchObject({ reason: 'provider_asked', claims, scopes: ['a'] });
    expect(sent()).toEqual(Array(2).fill(user.first.refreshToken));
    expectNoSecrets(user.app.logText(), stage.provider);
    stage.provider.scriptAlways(undefined);
    expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
    expect(sent().at(-1)).toBe(user.first.refreshToken);
  },
);

test('A15: claims that are none are left out', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script({ status: 400, json: { error: 'interaction_required', claims: 'mfa please' } });
  const refusal = await user.refusal('a');
  expect(refusal).toMatchObject({ reason: 'provider_asked' });
  expect(refusal).not.toHaveProperty('claims');
});

test.each(['invalid_scope', 'invalid_target'])(
  'A17: %s: the user is asked once for these scopes, and everything else goes on',
  async (error) => {
    const user = await stage.signIn();
    pastExpiry();
    stage.provider.script({ status: 400, json: { error } });
    await expectChallenge(user, 'c');
    await expectChallenge(user, 'c');
    expect(await user.refusal('c')).toMatchObject({ reason: 'scope_refused' });
    expect(stage.provider.tokenCalls).toHaveLength(1);
    expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
    expect(sent()).toEqual(Array(2).fill(user.first.refreshToken));
  },
);

test('A17: inside the hard leeway too, invalid_scope is for the user', async () => {
  const user = await stage.signIn();
  intoHardLeeway();
  stage.provider.script({ status: 400, json: { error: 'invalid_scope' } });
  await expectChallenge(user);
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A17: refused, asked for by a login, still missing: not granted, also where the login asked for just this', async () => {
  stage.provider.settings.denyScopes.add('c');
  const user = await stage.signIn({ auth: { scopes: 'openid offline_access a' } });
  const page = await user.browser.navigate(user.url('a c'));
  expect(page.status).toBe(403);
  expect(page.hops.filter(({ url }) => url.startsWith(`${stage.provider.issuer}/auth?`))).toHaveLength(1);
  expect(await user.refusal('c a')).toMatchObject({
    name: 'ScopeNotGrantedError',
    status: 403,
    scopes: ['c'],
  });
  expect(await user.getToken('a')).toMatchObject({ status: 200 });
  expect(stage.provider.refreshCalls).toHaveLength(1);
  await user.browser.login(user.app);
  await expectChallenge(user, 'c');
});

/** What a store holds of token caches. */
function records({ sessions }: { sessions: Record<string, string> }): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sessions).filter(([id, text]) => id.startsWith('oidc.') && 'payload' in JSON.parse(text)),
  );
}

/**
 * A process whose sibling always refreshes first: when it presents a refresh token, the sibling has stored the next
 * one, up to so many, and the provider says `invalid_grant`.
 */
async function besideSibling(generations: number): Promise<{ user: User; issued: User['first'][] }> {
  const auth = lastingKeys();
  const store = new MemoryStore() as MemoryStore & { sessions: Record<string, string> };
  const sibling = await stage.signIn({ auth, store });
  const oldest = { ...store.sessions };
  const stored: Record<string, string>[] = [];
  for (let generation = 0; generation < generations; generation += 1) {
    pastExpiry();
    await sibling.getToken('a');
    stored.push(records(store));
  }
  const issued = stage.provider.tokenCalls.map(({ answer }) => ({
    accessToken: String(answer?.access_token),
    refreshToken: String(answer?.refresh_token),
  }));
  const ours = Object.assign(new MemoryStore(), { sessions: oldest });
  const user = await stage.restart(sibling, { auth, store: ours });
  stage.provider.clearCalls();
  const steps = stored.map((newer) => () => {
    Object.assign(ours.sessions, newer);
    return { status: 400, json: { error: 'invalid_grant' } };
  });
  stage.provider.script(...steps);
  return { user, issued };
}

test('A14: invalid_grant where a sibling has refreshed meanwhile: its token is served', async () => {
  const { user, issued } = await besideSibling(1);
  const { accessToken, refreshToken } = issued[0]!;
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache' });
  expect(sent()).toEqual([user.first.refreshToken]);
  pastExpiry();
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  expect(sent()).toEqual([user.first.refreshToken, refreshToken]);
});

test('A14: invalid_grant where the sibling has refreshed long ago: its refresh token is used', async () => {
  const { user, issued } = await besideSibling(1);
  pastExpiry();
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
  expect(sent()).toEqual([user.first.refreshToken, issued[0]?.refreshToken]);
});

test('A14: invalid_grant for the refresh token of the sibling too: one retry and no more', async () => {
  const { user, issued } = await besideSibling(1);
  pastExpiry();
  stage.provider.script({ status: 400, json: { error: 'invalid_grant' } });
  await expectChallenge(user);
  await expectChallenge(user);
  expect(sent()).toEqual([user.first.refreshToken, issued[0]?.refreshToken]);
});

test('A14: a sibling that is always faster: one retry per request, no challenge, and nothing is lost', async () => {
  const { user, issued } = await besideSibling(3);
  expect((await user.getToken('a')).status).toBe(503);
  expect(sent()).toEqual([user.first.refreshToken, issued[0]?.refreshToken]);
  const { accessToken } = issued[2]!;
  expect(await user.getToken('a')).toMatchObject({ status: 200, accessToken, source: 'cache' });
  expect(sent().slice(2)).toEqual([issued[1]?.refreshToken]);
});
