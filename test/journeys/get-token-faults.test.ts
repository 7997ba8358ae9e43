import { on } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { expectNoSecrets } from '../support/leaks.ts';
import type { TokenFault } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import { gate, intoHardLeeway, pastExpiry, Stage, times, type User } from './get-token-stage.ts';

const stage = new Stage();

const sent = () => stage.provider.refreshCalls.map(({ params }) => params.refresh_token);

/** A page that needs the token is an error page at the app, and not a redirect. */
async function expectErrorPage(user: User, status: number): Promise<void> {
  const page = await user.browser.navigate(user.url('a'), {
    stopAt: (url) => url.port !== new URL(user.app.url).port,
  });
  expect(page).toMatchObject({ status, hops: [{ status }] });
  expectNoSecrets(page.text, stage.provider);
}

/** Nothing was lost: once the provider is well again, the refresh token of the sign-in does its work. */
async function expectRecovery(user: User): Promise<void> {
  stage.provider.scriptAlways(undefined);
  stage.provider.clearCalls();
  travel(61);
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
  expect(sent()).toEqual([user.first.refreshToken]);
  expectNoSecrets(user.app.logText(), stage.provider);
}

const html = '<!DOCTYPE html><title>502 Bad Gateway</title>';

/** Rows 6 and 7 of the table in the specification: the answer, and how often it is asked for. */
const down: [name: string, fault: TokenFault, calls: number][] = [
  ['503', { status: 503, body: html }, 1],
  ['503 with Retry-After', { status: 503, body: '', headers: { 'retry-after': '10' } }, 1],
  ['503 that says invalid_grant', { status: 503, json: { error: 'invalid_grant' } }, 1],
  ['429', { status: 429, json: {} }, 1],
  ['429 with Retry-After', { status: 429, json: {}, headers: { 'retry-after': '10' } }, 1],
  ['temporarily_unavailable', { status: 400, json: { error: 'temporarily_unavailable' } }, 1],
  ['slow_down', { status: 400, json: { error: 'slow_down' } }, 1],
  ['500 with HTML', { status: 500, body: html }, 2],
  ['500 server_error', { status: 500, json: { error: 'server_error' } }, 2],
  ['400 server_error', { status: 400, json: { error: 'server_error' } }, 2],
  ['502 that says invalid_grant', { status: 502, json: { error: 'invalid_grant' } }, 2],
  ['504 without a body', { status: 504, body: '' }, 2],
  ['403 of a firewall', { status: 403, body: html }, 2],
  ['400 with HTML', { status: 400, body: html }, 2],
  ['302 to somewhere', { status: 302, body: '', headers: { location: 'http://127.0.0.1:9/' } }, 2],
  ['200 with HTML', { status: 200, body: html }, 2],
  ['200 with half a JSON', { status: 200, body: '{"access_token":"half' }, 2],
  ['200 without a body', { status: 200, body: '' }, 2],
  ['200 with an empty object', { status: 200, json: {} }, 2],
  ['200 with an array', { status: 200, json: ['access_token'] }, 2],
  ['a reset', { reset: 'before' }, 2],
];

test.each(down)('A13: %s: a token that is still good is served', async (_name, fault, calls) => {
  const user = await stage.signIn();
  intoHardLeeway();
  stage.provider.scriptAlways(fault);
  const reply = await user.getToken('a');
  expect(reply).toMatchObject({
    status: 200,
    accessToken: user.first.accessToken,
    source: 'cache',
    stale: true,
  });
  expect(sent()).toEqual(Array(calls).fill(user.first.refreshToken));
  await expectRecovery(user);
});

test.each(down)(
  'A13: %s: 503 when no token is good, and the refresh token stays',
  async (_name, fault, calls) => {
    const user = await stage.signIn();
    pastExpiry();
    stage.provider.scriptAlways(fault);
    const reply = await user.getToken('a');
    expect(reply.status).toBe(503);
    expect(Number(reply.headers['retry-after'])).toBeGreaterThan(0);
    expect(reply.headers).not.toHaveProperty('location');
    expect(sent()).toEqual(Array(calls).fill(user.first.refreshToken));
    const { retryAfter, ...refusal } = (await user.refusal('a')) ?? {};
    expect(refusal).toMatchObject({
      name: 'ProviderUnavailableError',
      code: 'ERR_OIDC_PROVIDER_UNAVAILABLE',
    });
    expect(retryAfter).toBeGreaterThan(0);
    await expectErrorPage(user, 503);
    await expectRecovery(user);
  },
);

/** Resolves when so many requests are waiting inside the app. */
async function arrivals(user: User, count: number): Promise<void> {
  let missing = count;
  for await (const _request of on(user.app.server, 'request')) {
    missing -= 1;
    if (missing === 0) break;
  }
  // The session, then the token cache: a turn for each, and some to spare.
  for (let turns = 0; turns < 20; turns += 1) await turn();
}

test('A13: parallel callers share a grant that fails, and the next request starts another', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.scriptAlways({ status: 500, body: html });
  const held = gate();
  stage.provider.script({ wait: held.opened, status: 500, body: html });
  const arrived = arrivals(user, 20);
  const replies = times(20, () => user.getToken('a'));
  await arrived;
  held.open();
  expect(new Set((await replies).map(({ status }) => status))).toEqual(new Set([503]));
  expect(sent()).toHaveLength(2);
  await expectRecovery(user);
});

test('A13: a provider that hangs until the grant times out', async () => {
  const user = await stage.signIn({ auth: { grantTimeoutMs: 100 } });
  intoHardLeeway();
  stage.provider.scriptAlways({ hang: true });
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken, stale: true });
  travel(31);
  expect((await user.getToken('a')).status).toBe(503);
  await expectErrorPage(user, 503);
  // The timeout is for the whole grant: what took all of it is not tried again.
  expect(sent()).toEqual(Array(3).fill(user.first.refreshToken));
  await expectRecovery(user);
});

test('A13: a provider that refuses connections', async () => {
  const user = await stage.signIn();
  intoHardLeeway();
  await stage.provider.stop();
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken, stale: true });
  travel(31);
  expect((await user.getToken('a')).status).toBe(503);
  await expectErrorPage(user, 503);
  await stage.provider.restart();
  await expectRecovery(user);
});

test('A13: a token is served as stale at every request, and in the place of no other', async () => {
  const user = await stage.signIn();
  intoHardLeeway();
  stage.provider.scriptAlways({ status: 503, body: '' });
  for (let again = 0; again < 3; again += 1) expect(await user.getToken('a')).toMatchObject({ stale: true });
  expect((await user.getToken('read')).status).toBe(503);
  stage.provider.scriptAlways(undefined);
  const fresh = await user.getToken('a');
  expect(fresh).toMatchObject({ status: 200, source: 'provider' });
  expect(fresh).not.toHaveProperty('stale');
});

const misconfigured: [name: string, fault: TokenFault, named: string][] = [
  ['invalid_client', { status: 401, json: { error: 'invalid_client' } }, 'invalid_client'],
  ['invalid_client as 400', { status: 400, json: { error: 'invalid_client' } }, 'invalid_client'],
  ['unauthorized_client', { status: 400, json: { error: 'unauthorized_client' } }, 'unauthorized_client'],
  [
    'unsupported_grant_type',
    { status: 400, json: { error: 'unsupported_grant_type' } },
    'unsupported_grant_type',
  ],
  ['401 without more', { status: 401, body: '' }, '401'],
];

function expectLoggedError(user: User, named: string): void {
  const errors = user.app.logs.filter(({ level }) => level === 'error');
  expect(errors.map(({ details }) => JSON.stringify(details))).toContainEqual(expect.stringContaining(named));
}

test.each(misconfigured)('A18: %s: a token that is still good is served', async (_name, fault, named) => {
  const user = await stage.signIn();
  intoHardLeeway();
  stage.provider.scriptAlways(fault);
  expect(await user.getToken('a')).toMatchObject({
    status: 200,
    accessToken: user.first.accessToken,
    stale: true,
  });
  expect(sent()).toEqual([user.first.refreshToken]);
  expectLoggedError(user, named);
  await expectRecovery(user);
});

test.each(misconfigured)(
  'A18: %s: 500 when no token is good, and the tokens stay',
  async (_name, fault, named) => {
    const user = await stage.signIn();
    pastExpiry();
    stage.provider.scriptAlways(fault);
    const reply = await user.getToken('a');
    expect(reply.status).toBe(500);
    expect(reply.headers).not.toHaveProperty('location');
    expect(sent()).toEqual([user.first.refreshToken]);
    expect(await user.refusal('a')).toMatchObject({
      name: 'ConfigurationError',
      code: 'ERR_OIDC_CONFIGURATION',
    });
    await expectErrorPage(user, 500);
    expectLoggedError(user, named);
    await expectRecovery(user);
  },
);

test('A13: an error that no rule knows is a 502 without a second call, and the tokens stay', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.scriptAlways({ status: 400, json: { error: 'invalid_request' } });
  expect((await user.getToken('a')).status).toBe(502);
  expect(sent()).toEqual([user.first.refreshToken]);
  expect(await user.refusal('a')).toMatchObject({
    name: 'TokenEndpointError',
    code: 'ERR_OIDC_TOKEN_ENDPOINT',
  });
  await expectErrorPage(user, 502);
  await expectRecovery(user);
});

test('A13: … and a token that is still good is served', async () => {
  const user = await stage.signIn();
  intoHardLeeway();
  stage.provider.scriptAlways({ status: 400, json: { error: 'invalid_request' } });
  expect(await user.getToken('a')).toMatchObject({ accessToken: user.first.accessToken, stale: true });
  await expectRecovery(user);
});
