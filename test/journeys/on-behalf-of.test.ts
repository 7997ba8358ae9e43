import '../support/quiet.ts';

import { expect, test } from '@jest/globals';
import { requiresBearer } from 'express-oidc-tokens';
import { parseWwwAuthenticate } from '../../src/core/www-authenticate.ts';
import type { AppOptions } from '../support/app.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { JWT_BEARER, TOKEN_EXCHANGE } from '../support/on-behalf-of-grants.ts';
import { R2 } from '../support/provider.ts';
import { now, travel } from '../support/time.ts';
import { API, ApiStage, call, jsonErrors } from './api-stage.ts';

const stage = new ApiStage();
const READ = { resource: R2, scopes: 'read' };

/** `/call` gets a token for another API on behalf of its caller, `/write` one for another scope. */
const routes: AppOptions['routes'] = (app, handle) => {
  app.get('/call', requiresBearer({ audience: API }), async (req, res) => {
    res.json(await req.getTokenOnBehalfOf(READ));
  });
  app.get('/write', requiresBearer({ audience: API }), async (req, res) => {
    res.json(await req.getTokenOnBehalfOf({ ...READ, scopes: 'write' }));
  });
  app.get('/bad', requiresBearer({ audience: API }), async (req, res) => {
    res.json(await req.getTokenOnBehalfOf({ scope: 'read' } as never));
  });
  app.get('/unguarded', async (req, res) => {
    res.json(await req.getTokenOnBehalfOf(READ));
  });
  app.get('/handle', async (req, res) => {
    const incoming = req.headers.authorization?.slice(7) ?? '';
    res.json(await handle.getTokenOnBehalfOf(incoming, READ));
  });
  app.use(jsonErrors);
};

const calls = () => stage.provider.tokenCalls;
const subjectOf = async (accessToken: string) =>
  (await stage.provider.oidc.AccessToken.find(accessToken))?.accountId;

test.each([
  ['auto', TOKEN_EXCHANGE, 'subject_token'],
  ['token_exchange', TOKEN_EXCHANGE, 'subject_token'],
  ['jwt_bearer', JWT_BEARER, 'assertion'],
] as const)('A29: %s acts on behalf of the caller', async (onBehalfOfGrant, grantType, parameter) => {
  const app = await stage.api(routes, { onBehalfOfGrant });
  const incoming = await stage.token({ sub: 'bob' });
  const first = await call(`${app.url}/call`, incoming);
  expect(first.json).toMatchObject({ source: 'provider', reason: 'no_cached_token', scopes: ['read'] });
  expect(await subjectOf(first.json.accessToken)).toBe('bob');
  expect(calls()).toHaveLength(1);
  expect(calls()[0]?.params).toMatchObject({
    grant_type: grantType,
    [parameter]: incoming,
    resource: R2,
    scope: 'read',
    ...(grantType === JWT_BEARER ? { requested_token_use: 'on_behalf_of' } : {}),
  });
  const again = await call(`${app.url}/call`, incoming);
  expect(again.json).toMatchObject({ source: 'cache', accessToken: first.json.accessToken });
  expect(calls()).toHaveLength(1);
  expectNoSecrets(app.logText(), stage.provider);
});

test('auto takes jwt-bearer where discovery offers that alone', async () => {
  stage.provider.tamper = {
    discovery: (document) => ({ ...document, grant_types_supported: ['authorization_code', JWT_BEARER] }),
  };
  try {
    const app = await stage.api(routes);
    expect((await call(`${app.url}/call`, await stage.token())).status).toBe(200);
    expect(calls()[0]?.params.grant_type).toBe(JWT_BEARER);
  } finally {
    stage.provider.tamper = {};
  }
});

test('A29: 50 parallel calls with one incoming token make one call, another incoming token its own', async () => {
  const app = await stage.api(routes);
  const [alice, bob, alice2] = [
    await stage.token({ sub: 'alice' }),
    await stage.token({ sub: 'bob' }),
    await stage.token({ sub: 'alice', jti: '2' }),
  ];
  const incoming = Array.from({ length: 50 }, () => [alice, bob, alice2]).flat();
  const answers = await Promise.all(incoming.map((token) => call(`${app.url}/call`, token)));
  expect(calls()).toHaveLength(3);
  const owners = new Map<string, Set<string>>();
  answers.forEach(({ json }, index) => {
    const from = incoming[index] as string;
    owners.set(json.accessToken, (owners.get(json.accessToken) ?? new Set()).add(from));
  });
  expect([...owners.values()].map((from) => from.size)).toEqual([1, 1, 1]);
  for (const [token, from] of owners) expect(await subjectOf(token)).toBe(from.has(bob) ? 'bob' : 'alice');
  await call(`${app.url}/write`, alice);
  expect(calls()).toHaveLength(4);
});

test('A29: never kept past the expiry of the incoming token', async () => {
  const app = await stage.api(routes);
  const exp = now() + 100;
  const incoming = await stage.token({ exp });
  for (const path of ['/call', '/handle']) {
    const { json } = await call(`${app.url}${path}`, incoming);
    expect(json.expiresAt).toBeLessThanOrEqual(exp);
  }
  expect(calls()).toHaveLength(1);
  travel(110);
  stage.provider.scriptAlways({ status: 400, json: { error: 'invalid_grant' } });
  // Inside the clock tolerance the incoming token is still taken; what was cached for it is not.
  for (const path of ['/call', '/handle'])
    expect(await call(`${app.url}${path}`, incoming)).toMatchObject({ status: 401 });
  expect(calls()).toHaveLength(3);
});

test('A29: the handle alone keeps nothing past the expiry of a JWT, either', async () => {
  const app = await stage.api(routes);
  const incoming = await stage.token({ exp: now() + 100 });
  const first = await call(`${app.url}/handle`, incoming);
  travel(110);
  const second = await call(`${app.url}/handle`, incoming);
  expect(calls()).toHaveLength(2);
  expect(second.json?.accessToken).not.toBe(first.json.accessToken);
});

test('near its end it is served and renewed in the background', async () => {
  const app = await stage.api(routes);
  const incoming = await stage.token({ exp: now() + 7200 });
  const first = await call(`${app.url}/call`, incoming);
  travel(3600 - 150);
  const served = await call(`${app.url}/call`, incoming);
  expect(served.json.accessToken).toBe(first.json.accessToken);
  await stage.provider.whenTokenCalls(2);
  await app.handle.close();
  expect((await call(`${app.url}/call`, incoming)).json.accessToken).not.toBe(first.json.accessToken);
  expect(calls()).toHaveLength(2);
});

test.each(['interaction_required', 'consent_required', 'mfa_required', 'login_required'])(
  '%s with claims → 401 with a claims challenge, and nothing is cached',
  async (error) => {
    const app = await stage.api(routes);
    const incoming = await stage.token();
    const claims = { access_token: { acrs: { essential: true, value: 'c1' } } };
    stage.provider.script({ status: 400, json: { error, claims: JSON.stringify(claims) } });
    const answer = await call(`${app.url}/call`, incoming);
    expect(answer.status).toBe(401);
    const [challenge] = parseWwwAuthenticate(answer.challenge);
    expect(challenge).toMatchObject({ scheme: 'Bearer', parameters: { error: 'insufficient_claims' } });
    const text = Buffer.from(challenge?.parameters.claims ?? '', 'base64url').toString();
    expect(JSON.parse(text)).toEqual(claims);
    expectNoSecrets(`${answer.text} ${answer.challenge} ${app.logText()}`, stage.provider);
    expect(answer.text.includes(incoming)).toBe(false);
    expect((await call(`${app.url}/call`, incoming)).json).toMatchObject({ source: 'provider' });
  },
);

test.each<[object, number, string | null]>([
  [{ status: 400, json: { error: 'invalid_grant' } }, 401, 'error="invalid_token"'],
  [{ status: 400, json: { error: 'interaction_required' } }, 401, 'error="insufficient_user_authentication"'],
  [{ status: 400, json: { error: 'invalid_grant', suberror: 'consent_required' } }, 401, 'insufficient_user'],
  [{ status: 400, json: { error: 'invalid_scope' } }, 403, null],
  [{ status: 400, json: { error: 'invalid_target' } }, 403, null],
  [{ status: 401, json: { error: 'invalid_client' } }, 500, null],
  [{ status: 400, json: { error: 'unsupported_grant_type' } }, 500, null],
  [{ status: 503, headers: { 'retry-after': '1' } }, 503, null],
  [{ status: 500 }, 503, null],
  [{ body: '<html>' }, 503, null],
])('the provider answers %j → %i', async (fault, status, challenge) => {
  const app = await stage.api(routes);
  const incoming = await stage.token();
  stage.provider.scriptAlways(fault);
  const answer = await call(`${app.url}/call`, incoming);
  expect(answer.status).toBe(status);
  if (challenge === null) expect(answer.challenge).toBeNull();
  else expect(answer.challenge).toContain(challenge);
  expectNoSecrets(`${answer.text} ${answer.challenge} ${app.logText()}`, stage.provider);
  expect(`${answer.text} ${app.logText()}`.includes(incoming)).toBe(false);
  stage.provider.scriptAlways(undefined);
  travel(2);
  expect((await call(`${app.url}/call`, incoming)).status).toBe(200);
});

test('before requiresBearer, and with a request of the wrong kind, it is a TypeError', async () => {
  const app = await stage.api(routes);
  const incoming = await stage.token();
  expect((await call(`${app.url}/unguarded`, incoming)).json).toMatchObject({
    name: 'TypeError',
    message: expect.stringContaining('after requiresBearer()'),
  });
  expect((await call(`${app.url}/bad`, incoming)).json).toMatchObject({ name: 'TypeError' });
  expect((await call(`${app.url}/handle`)).json).toMatchObject({ name: 'TypeError' });
  expect(calls()).toHaveLength(0);
});

test('a refused incoming token is never exchanged', async () => {
  const app = await stage.api(routes);
  expect((await call(`${app.url}/call`, await stage.token({ aud: 'other' }))).status).toBe(401);
  expect(calls()).toHaveLength(0);
});
