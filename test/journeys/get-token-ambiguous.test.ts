import { expect, test } from '@jest/globals';
import { expectNoSecrets } from '../support/leaks.ts';
import { type TokenFault, unsignedToken } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import { intoHardLeeway, pastExpiry, Stage, type User } from './get-token-stage.ts';

const stage = new Stage();

const sent = () => stage.provider.refreshCalls.map(({ params }) => params.refresh_token);

/** The provider has acted, and what it answers does not arrive. */
const lost: [name: string, fault: TokenFault][] = [
  ['the connection is reset', { reset: 'after' }],
  ['the connection is cut inside the body', { truncate: 'connection' }],
  ['half of the JSON arrives', { truncate: true }],
  ['the body is empty', { mutate: () => '' }],
  ['the answer holds no token', { mutate: () => ({ token_type: 'Bearer' }) }],
];

test.each(lost)(
  'A13: the provider rotates and %s: with a grace window nobody notices',
  async (_name, fault) => {
    stage.provider.settings.graceMs = 10_000;
    const user = await stage.signIn();
    pastExpiry();
    stage.provider.script(fault);
    const reply = await user.getToken('a');
    expect(reply).toMatchObject({ status: 200, source: 'provider', reason: 'expired' });
    expect(sent()).toEqual(Array(2).fill(user.first.refreshToken));
    pastExpiry();
    expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
    expect(sent()[2]).toBe(stage.provider.refreshCalls[1]?.answer?.refresh_token);
    expect(sent()[2]).not.toBe(user.first.refreshToken);
  },
);

test.each(lost)(
  'A13: the provider rotates and %s: without grace the user signs in again',
  async (_name, fault) => {
    const user = await stage.signIn();
    pastExpiry();
    stage.provider.script(fault);
    expect((await user.getToken('a')).status).toBe(401);
    expect(sent()).toEqual(Array(2).fill(user.first.refreshToken));
    expect(await user.refusal('a')).toMatchObject({ reason: 'no_refresh_token' });
    expect(stage.provider.tokenCalls).toHaveLength(2);
  },
);

test('A13: an answer that is lost twice: one retry in all, and the next request tries again', async () => {
  stage.provider.settings.graceMs = 10_000;
  const user = await stage.signIn();
  intoHardLeeway();
  stage.provider.script({ reset: 'after' }, { truncate: true });
  const reply = await user.getToken('a');
  expect(reply).toMatchObject({ accessToken: user.first.accessToken, stale: true });
  expect(sent()).toHaveLength(2);
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  expect(sent()).toEqual(Array(3).fill(user.first.refreshToken));
});

test('A13: different faults share the one retry', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script({ status: 500, body: '' }, { status: 200, body: 'no JSON' });
  expect((await user.getToken('a')).status).toBe(503);
  expect(sent()).toHaveLength(2);
});

test('A13: what the retry says is what counts', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script(
    { status: 502, body: '' },
    { status: 503, body: '', headers: { 'retry-after': '40' } },
  );
  expect(await user.getToken('a')).toMatchObject({ status: 503, headers: { 'retry-after': '40' } });
  expect(sent()).toHaveLength(2);
  travel(41);
  expect(await user.getToken('a')).toMatchObject({ status: 200 });
});

/** A fetch that fails before it reaches the token endpoint, as often as it is told. */
function unreachable(code: string) {
  const state = { failures: 0, attempts: 0, fetch };
  state.fetch = async (url, init) => {
    if (!String(url).endsWith('/token')) return fetch(url, init);
    state.attempts += 1;
    if (state.attempts > state.failures) return fetch(url, init);
    throw new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) });
  };
  return state;
}

async function signInWith(line: ReturnType<typeof unreachable>): Promise<User> {
  const user = await stage.signIn({ auth: { fetch: (url, init) => line.fetch(url, init) } });
  line.attempts = 0;
  return user;
}

test.each(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'])(
  'A13: a request that was never sent (%s) is tried three times',
  async (code) => {
    const line = unreachable(code);
    const user = await signInWith(line);
    pastExpiry();
    line.failures = 2;
    expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
    expect([line.attempts, stage.provider.tokenCalls.length]).toEqual([3, 1]);
    pastExpiry();
    Object.assign(line, { attempts: 0, failures: Number.POSITIVE_INFINITY });
    expect((await user.getToken('a')).status).toBe(503);
    expect([line.attempts, stage.provider.tokenCalls.length]).toEqual([3, 1]);
  },
);

test('A13: a request that may have been sent (ECONNRESET) is tried twice', async () => {
  const line = unreachable('ECONNRESET');
  const user = await signInWith(line);
  pastExpiry();
  line.failures = Number.POSITIVE_INFINITY;
  expect((await user.getToken('a')).status).toBe(503);
  expect(line.attempts).toBe(2);
});

const minute = 60;
const nowSeconds = () => Math.floor(Date.now() / 1000);

/** ID tokens that must not be believed, beside tokens that are good. */
const unbelievable: [name: string, idToken: () => Promise<string> | string][] = [
  ['is not signed', () => unsignedToken({ iss: stage.provider.issuer, sub: 'alice' })],
  ['is garbage', () => 'garbage'],
  ['is for another client', () => stage.provider.signIdToken({ aud: 'another' })],
  ['is of another issuer', () => stage.provider.signIdToken({ iss: 'https://other.example' })],
  [
    'has expired by a clock that is off',
    () => stage.provider.signIdToken({ iat: nowSeconds() - 9 * minute, exp: nowSeconds() - 4 * minute }),
  ],
  ['has a false signature', async () => withFalseSignature(await stage.provider.signIdToken())],
];

function withFalseSignature(jwt: string): string {
  const [header, payload] = jwt.split('.');
  return [header, payload, Buffer.alloc(256, 7).toString('base64url')].join('.');
}

test.each(unbelievable)(
  'A13: the new ID token %s: the new refresh token is kept all the same',
  async (_name, idToken) => {
    const user = await stage.signIn();
    pastExpiry();
    const id_token = await idToken();
    stage.provider.script({ mutate: (answer) => ({ ...answer, id_token }) });
    const reply = await user.getToken('a');
    expect(reply.status).toBe(502);
    expect(reply.headers).not.toHaveProperty('location');
    expect(stage.provider.tokenCalls).toHaveLength(1);
    const refused = stage.provider.tokenCalls[0]?.answer;
    const next = await user.getToken('a');
    expect(next).toMatchObject({ status: 200, source: 'provider' });
    expect(next.accessToken).not.toBe(refused?.access_token);
    expect(sent()).toEqual([user.first.refreshToken, refused?.refresh_token]);
    expectNoSecrets(user.app.logText(), stage.provider);
  },
);

test('A13: the keys for the new ID token cannot be had: 503, and the new refresh token is kept', async () => {
  stage.provider.settings.idTokenOnRefresh = true;
  const user = await stage.signIn();
  pastExpiry();
  await stage.provider.rotateKeys();
  stage.provider.down = { jwks: 500 };
  expect((await user.getToken('a')).status).toBe(503);
  const refused = stage.provider.tokenCalls[0]?.answer;
  stage.provider.down = {};
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  expect(sent()).toEqual([user.first.refreshToken, refused?.refresh_token]);
});

test('A13: the keys cannot be had again, but those that are known fit: everything goes on', async () => {
  stage.provider.settings.idTokenOnRefresh = true;
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.down = { jwks: 'reset', discovery: 500 };
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
});

test('A13: an answer with a refresh token and no access token: the refresh token is kept', async () => {
  const user = await stage.signIn();
  pastExpiry();
  stage.provider.script({ mutate: ({ refresh_token }) => ({ refresh_token }) });
  expect((await user.getToken('a')).status).toBe(503);
  const arrived = stage.provider.tokenCalls[0]?.answer?.refresh_token;
  expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
  expect(sent()).toEqual([user.first.refreshToken, arrived]);
});
