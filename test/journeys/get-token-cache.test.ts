import { expect, test } from '@jest/globals';
import { R1, R2 } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import { pastExpiry, Stage } from './get-token-stage.ts';

const stage = new Stage();

test('A1: a token that covers the scopes is served from the cache', async () => {
  const user = await stage.signIn({ auth: { scopes: 'openid offline_access a b' } });
  const { accessToken } = user.first;
  const account = { issuer: stage.provider.issuer, subject: 'alice' };
  const reply = await user.getToken('a');
  expect(reply).toMatchObject({ status: 200, accessToken, source: 'cache', account });
  expect(reply.scopes).toEqual(expect.arrayContaining(['a', 'b']));
  expect(Math.abs(reply.expiresAt! - (Date.now() / 1000 + 3600))).toBeLessThan(5);
  expect(reply).not.toHaveProperty('reason');
  expect(reply).not.toHaveProperty('stale');
  expect(JSON.stringify(reply)).not.toContain(user.first.refreshToken);
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A1: a scope that no token holds is not served from the cache', async () => {
  const user = await stage.signIn({ auth: { scopes: 'openid offline_access a b' } });
  const reply = await user.getToken('a c');
  expect(reply.accessToken).not.toBe(user.first.accessToken);
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A2: order, doubles and OpenID scopes do not matter', async () => {
  const user = await stage.signIn({ auth: { scopes: 'openid profile offline_access a b' } });
  const { accessToken } = user.first;
  const same = [
    'b a openid',
    'a b',
    ' b  a a ',
    'email a offline_access',
    ['b', 'a'],
    { scopes: 'a profile' },
  ];
  for (const request of same) {
    expect(await user.getToken(request)).toMatchObject({ accessToken, source: 'cache' });
  }
  expect(await user.getToken()).toMatchObject({ accessToken, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A2: case does matter', async () => {
  const user = await stage.signIn({ auth: { scopes: 'openid offline_access a b' } });
  stage.provider.script({ mutate: (answer) => ({ ...answer, scope: 'A' }), grantType: 'refresh_token' });
  await user.getToken('A');
  expect(stage.provider.refreshCalls.map(({ params }) => params.scope)).toEqual(['A']);
});

test.each([
  ['an hour: 60 s', 3600, 60],
  ['100 s: a tenth', 100, 10],
])(
  'A3: just above the hard leeway a hit, just below it one refresh (%s)',
  async (_name, lifetime, leeway) => {
    stage.provider.accessTokenTtl = lifetime;
    const user = await stage.signIn();
    travel(lifetime - leeway - 2);
    // The soft leeway is behind it, so a renewal in the background starts, too.
    const renewal = user.whenCommitted();
    const above = await user.getToken('a');
    expect(above).toMatchObject({ accessToken: user.first.accessToken, source: 'cache' });
    await renewal;
    stage.provider.clearCalls();
    const fresh = await user.getToken('a');
    travel(lifetime - leeway + 2);
    const below = await user.getToken('a');
    expect(below).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
    expect(below.accessToken).not.toBe(fresh.accessToken);
    expect(await user.getToken('a')).toMatchObject({ accessToken: below.accessToken, source: 'cache' });
    expect(stage.provider.tokenCalls).toHaveLength(1);
  },
);

test('A3: tokens of a minute, one request a second, are refreshed about once a minute', async () => {
  stage.provider.accessTokenTtl = 60;
  const user = await stage.signIn();
  const served = new Set<string | undefined>();
  for (let second = 0; second < 60; second += 1) {
    const reply = await user.getToken('a');
    expect(reply.expiresAt).toBeGreaterThan(Date.now() / 1000);
    served.add(reply.accessToken);
    travel(1);
  }
  expect(stage.provider.tokenCalls).toHaveLength(1);
  expect(served.size).toBe(2);
});

test('A3: a clock that was set back does not make old tokens good', async () => {
  const user = await stage.signIn();
  expect(await user.getToken('a')).toMatchObject({ source: 'cache' });
  travel(-600);
  expect(await user.getToken('a')).toMatchObject({ source: 'provider', reason: 'expired' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

test('A4: a token for other scopes is derived, and the first one stays', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const a = await user.getToken('a');
  stage.provider.clearCalls();
  const c = await user.getToken('c');
  expect(c).toMatchObject({ status: 200, source: 'provider', reason: 'no_cached_token', scopes: ['c'] });
  expect(stage.provider.refreshCalls.map(({ params }) => params.scope)).toEqual(['c']);
  for (let round = 0; round < 2; round += 1) {
    expect(await user.getToken('a')).toMatchObject({ accessToken: a.accessToken, source: 'cache' });
    expect(await user.getToken('c')).toMatchObject({ accessToken: c.accessToken, source: 'cache' });
    // Once from this process's memory, once from the store.
    travel(61);
  }
  expect(stage.provider.tokenCalls).toHaveLength(1);
});

const resources = {
  r1: { resource: R1, scopes: 'read' },
  r2: { resource: R2, scopes: 'read write' },
};

test('A5: one token per resource, and never one for another', async () => {
  const user = await stage.signIn({ auth: { scopes: 'openid offline_access read write', resources } });
  const audience = async (token: string | undefined) =>
    (await stage.provider.oidc.AccessToken.find(token ?? ''))?.aud;
  const one = await user.getToken('r1');
  const two = await user.getToken({ scopes: 'read', resource: R2 });
  expect(stage.provider.refreshCalls.map(({ params }) => params.resource)).toEqual([R1, R2]);
  expect([await audience(one.accessToken), await audience(two.accessToken)]).toEqual([R1, R2]);
  for (let round = 0; round < 10; round += 1) {
    expect(await user.getToken({ scopes: 'read', resource: R1 })).toMatchObject({
      accessToken: one.accessToken,
    });
    expect(await user.getToken({ scopes: 'read', resource: R2 })).toMatchObject({
      accessToken: two.accessToken,
    });
    if (round === 4) travel(61);
  }
  expect(stage.provider.tokenCalls).toHaveLength(2);
  pastExpiry();
  await user.getToken('r2');
  const own = await user.getToken('read');
  expect(own.status).toBe(200);
  expect(await audience(own.accessToken)).not.toBe(R2);
  expect(await audience(own.accessToken)).not.toBe(R1);
});

test('A5: a resource that the login did not ask for is for the user, and the refresh token is not risked', async () => {
  const auth = { scopes: 'openid offline_access read', resources: { r1: resources.r1 } };
  const user = await stage.signIn({ auth });
  const refused = await user.refusal({ scopes: 'read', resource: R2 });
  expect(refused).toMatchObject({ name: 'InteractionRequiredError', scopes: ['read'] });
  expect(stage.provider.tokenCalls).toHaveLength(0);
  expect(await user.getToken('r1')).toMatchObject({ status: 200, source: 'provider' });
});

test('A6: overlapping scope sets live side by side', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const xy = await user.getToken('x y');
  const yz = await user.getToken('y z');
  stage.provider.clearCalls();
  for (let round = 0; round < 10; round += 1) {
    expect(await user.getToken('y x')).toMatchObject({ accessToken: xy.accessToken, source: 'cache' });
    expect(await user.getToken('z y')).toMatchObject({ accessToken: yz.accessToken, source: 'cache' });
    if (round === 4) travel(61);
  }
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A6: a wider token takes the place of those it covers', async () => {
  const user = await stage.signIn();
  pastExpiry();
  const x = await user.getToken('x');
  const xyz = await user.getToken('x y z');
  travel(61);
  stage.provider.clearCalls();
  expect(x.accessToken).not.toBe(xyz.accessToken);
  for (const scopes of ['x', 'z x', 'y']) {
    expect(await user.getToken(scopes)).toMatchObject({ accessToken: xyz.accessToken, source: 'cache' });
  }
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A7: a provider that grants less is not asked again and again', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script({ mutate: (answer) => ({ ...answer, scope: 'a' }) });
  const less = await user.getToken('a b');
  expect(less).toMatchObject({ status: 200, scopes: ['a'], source: 'provider' });
  travel(61);
  expect(await user.getToken('b a')).toMatchObject({
    accessToken: less.accessToken,
    scopes: ['a'],
    source: 'cache',
  });
  expect(await user.getToken('a')).toMatchObject({ accessToken: less.accessToken, source: 'cache' });
  expect(stage.provider.tokenCalls).toHaveLength(1);
  // It says nothing about b alone.
  expect((await user.getToken('b')).accessToken).not.toBe(less.accessToken);
  expect(stage.provider.tokenCalls).toHaveLength(2);
});

test('A7: a login that was granted less answers what it asked for', async () => {
  stage.provider.settings.denyScopes.add('b');
  const user = await stage.signIn({ auth: { scopes: 'openid offline_access a b' } });
  for (const request of [undefined, 'a b', 'b a openid']) {
    const reply = await user.getToken(request);
    expect(reply).toMatchObject({ status: 200, accessToken: user.first.accessToken, source: 'cache' });
    expect(reply.scopes).not.toContain('b');
  }
  expect(stage.provider.tokenCalls).toHaveLength(0);
});

test('A7: two requests that are both granted the same less do not replace each other', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.scriptAlways({ mutate: (answer) => ({ ...answer, scope: 'a' }) });
  await user.getToken('a b');
  await user.getToken('a c');
  for (const scopes of ['a b', 'a c', 'a b', 'a c']) {
    expect(await user.getToken(scopes)).toMatchObject({ scopes: ['a'], source: 'cache' });
    travel(61);
  }
  expect(stage.provider.tokenCalls).toHaveLength(2);
});
