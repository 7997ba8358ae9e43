import { expect, test } from '@jest/globals';
import { requiresBearer } from 'express-oidc-tokens';
import * as client from 'openid-client';
import { openidClient, signIn } from '../support/client.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { startProvider } from '../support/provider.ts';
import { now, travel } from '../support/time.ts';
import { API, ApiStage, call } from './api-stage.ts';

const stage = new ApiStage();

/** An opaque token for the API, of an app. */
async function opaqueToken(scope = 'read'): Promise<string> {
  const config = await openidClient(stage.provider);
  const { access_token } = await client.clientCredentialsGrant(config, { resource: API, scope });
  return access_token;
}

test('a scope is missing → 403 insufficient_scope that names the scopes', async () => {
  const app = await stage.api((express) => {
    express.get('/write', requiresBearer({ audience: API, scopes: 'write read' }), (_req, res) =>
      res.send('ok'),
    );
  });
  const answer = await call(`${app.url}/write`, await stage.token({ scope: 'read' }));
  expect(answer.status).toBe(403);
  expect(answer.challenge).toBe(
    'Bearer error="insufficient_scope", error_description="It lacks a scope", scope="read write"',
  );
  const all = await call(`${app.url}/write`, await stage.token({ scp: ['write', 'read'], scope: undefined }));
  expect(all.text).toBe('ok');
});

test('a claim is missing → 403 insufficient_scope without scopes', async () => {
  const app = await stage.api((express) => {
    express.get('/t', requiresBearer({ audience: API, claims: { tenant: 't1' } }), (_req, res) =>
      res.send('ok'),
    );
  });
  const answer = await call(`${app.url}/t`, await stage.token({ tenant: 't2' }));
  expect(answer.status).toBe(403);
  expect(answer.challenge).toBe('Bearer error="insufficient_scope", error_description="It lacks a claim"');
  expect((await call(`${app.url}/t`, await stage.token({ tenant: 't1' }))).text).toBe('ok');
});

test('the sign-in is too weak or too old → insufficient_user_authentication that says what is wanted', async () => {
  const options = { audience: API, acrValues: ['phr', 'mfa'], maxAge: 300 };
  const app = await stage.api((express) => {
    express.get(
      '/pay',
      requiresBearer(options, (_req, res) => res.send('ok')),
    );
  });
  for (const claims of [{ acr: 'pwd', auth_time: now() }, { acr: 'mfa', auth_time: now() - 331 }, {}]) {
    const answer = await call(`${app.url}/pay`, await stage.token(claims));
    expect(answer.status).toBe(401);
    expect(answer.challenge).toBe(
      'Bearer error="insufficient_user_authentication", error_description="A stronger or more recent sign-in is needed", acr_values="phr mfa", max_age="300"',
    );
  }
  const good = await stage.token({ acr: 'mfa', auth_time: now() - 200 });
  expect((await call(`${app.url}/pay`, good)).text).toBe('ok');
  travel(200);
  expect((await call(`${app.url}/pay`, good)).status).toBe(401);
});

test.each<[unknown]>([
  [undefined],
  [{}],
  [{ audience: '' }],
  [{ audience: [] }],
  [{ audience: [7] }],
  [{ audience: API, scope: 'read' }],
  [{ audience: API, scopes: 7 }],
  [{ audience: API, claims: { tenant: {} } }],
  [{ audience: API, claims: 'tenant' }],
  [{ audience: API, maxAge: -1 }],
  [{ audience: API, acrValues: '' }],
])('options %j are a TypeError', (options) => {
  expect(() => requiresBearer(options as never)).toThrow(TypeError);
});

test('an opaque token is introspected, and for ten seconds not again', async () => {
  const app = await stage.api();
  const token = await opaqueToken();
  const answer = await call(`${app.url}/me`, token);
  expect(answer.json).toMatchObject({ scopes: ['read'], issuer: stage.provider.issuer });
  stage.provider.down = { introspection: 500 };
  expect((await call(`${app.url}/me`, token)).status).toBe(200);
  travel(11);
  expect((await call(`${app.url}/me`, token)).status).toBe(503);
  stage.provider.down = {};
  expect((await call(`${app.url}/me`, token)).status).toBe(200);
  expectNoSecrets(app.logText(), stage.provider);
});

test('20 calls with one opaque token at once are one introspection', async () => {
  const app = await stage.api();
  const token = await opaqueToken();
  const answers = await Promise.all(Array.from({ length: 20 }, () => call(`${app.url}/me`, token)));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
  expect(stage.provider.introspectionCalls).toBe(1);
});

test('an introspection that hangs holds nobody longer than callerTimeoutMs', async () => {
  const app = await stage.api(undefined, { callerTimeoutMs: 100 });
  const token = await opaqueToken();
  stage.provider.down = { introspection: 'hang' };
  expect((await call(`${app.url}/me`, token)).status).toBe(503);
});

test('what a handler does to its claims reaches no other request', async () => {
  const app = await stage.api((express) => {
    express.get(
      '/grab',
      requiresBearer({ audience: API }, (req, res) => {
        const roles = req.bearer.claims.roles as string[];
        const grab = () => roles.push('admin');
        expect(grab).toThrow(TypeError);
        res.json(req.bearer.claims.roles);
      }),
    );
  });
  const token = await stage.token({ roles: ['reader'] });
  for (const _ of [1, 2]) expect((await call(`${app.url}/grab`, token)).json).toEqual(['reader']);
});

test('an opaque token that is revoked, for another API, of no API or a refresh token is refused', async () => {
  const app = await stage.api();
  const config = await openidClient(stage.provider);
  const revoked = await opaqueToken();
  await client.tokenRevocation(config, revoked);
  const other = await client.clientCredentialsGrant(config, {
    resource: 'https://r2.example',
    scope: 'read',
  });
  const user = await signIn(config, { params: { resource: API, scope: 'openid read' } });
  for (const token of [
    revoked,
    other.access_token,
    user.access_token,
    String(user.refresh_token),
    String(user.id_token),
  ])
    expect(await call(`${app.url}/me`, token)).toMatchObject({
      status: 401,
      challenge: expect.stringContaining('invalid_token'),
    });
});

test('a refresh token that is active for this API, as Ory Hydra introspects them, is refused', async () => {
  const said = { active: true, aud: [API], exp: now() + 300, token_type: 'Bearer' };
  const answers = ['refresh_token', 'access_token'].map((token_use) => ({ ...said, token_use }));
  const app = await stage.api(undefined, {
    fetch: async (url, init) =>
      url.endsWith('/introspection') ? Response.json(answers.shift()) : fetch(url, init),
  });
  expect((await call(`${app.url}/me`, 'opaque-refresh-token')).status).toBe(401);
  expect((await call(`${app.url}/me`, 'opaque-access-token')).status).toBe(200);
});

test('a client that may not introspect is a fault of the set-up, not of the token', async () => {
  const app = await stage.api(undefined, { clientSecret: 'wrong'.repeat(8) });
  const answer = await call(`${app.url}/me`, await opaqueToken());
  expect(answer).toMatchObject({ status: 500, challenge: null });
});

test("the provider's keys cannot be had → 503, and the same token is good once they can", async () => {
  const app = await stage.api();
  const token = await stage.token();
  stage.provider.down = { jwks: 500 };
  const answer = await call(`${app.url}/me`, token);
  expect(answer).toMatchObject({ status: 503, challenge: null });
  expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
  stage.provider.down = { discovery: 500 };
  expect((await call(`${app.url}/me`, token)).status).toBe(200);
});

test('the provider cannot be discovered → 503, then it can', async () => {
  const app = await stage.api();
  stage.provider.down = { discovery: 500 };
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(503);
  stage.provider.down = {};
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
});

test('known keys go on verifying while the provider is down', async () => {
  const app = await stage.api();
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
  stage.provider.down = { jwks: 500, discovery: 500 };
  travel(4000);
  expect((await call(`${app.url}/me`, await stage.token({ sub: 'bob' }))).status).toBe(200);
});

test('a thousand unknown kids cost the provider one look, and a rotated key is found after the cooldown', async () => {
  const app = await stage.api();
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
  const before = stage.provider.jwksCalls;
  const good = await stage.token();
  const [, claims, signature] = good.split('.');
  for (let index = 0; index < 1000; index += 1) {
    const header = Buffer.from(JSON.stringify({ alg: 'RS256', kid: `k${index}` })).toString('base64url');
    const { status } = await call(`${app.url}/me`, `${header}.${claims}.${signature}`);
    if (status !== 401) expect(status).toBe(401);
  }
  expect(stage.provider.jwksCalls - before).toBe(1);
  await stage.provider.rotateKeys({ keepOld: true });
  travel(31);
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
  expect(stage.provider.jwksCalls - before).toBe(2);
});

test('a rotated key is found in the midst of the cooldown where the clock was set back', async () => {
  const app = await stage.api();
  const [, claims, signature] = (await stage.token()).split('.');
  const header = Buffer.from(JSON.stringify({ alg: 'RS256', kid: 'unknown' })).toString('base64url');
  expect((await call(`${app.url}/me`, `${header}.${claims}.${signature}`)).status).toBe(401);
  await stage.provider.rotateKeys({ keepOld: true });
  travel(-600);
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
});

test('a route can trust another issuer, and then trusts no other', async () => {
  const other = stage.opened(await startProvider());
  const app = await stage.api((express) => {
    express.get('/other', requiresBearer({ audience: API, issuer: other.issuer }), (_req, res) =>
      res.send('ok'),
    );
  });
  const theirs = await other.signIdToken({ aud: API }, { header: { typ: 'at+jwt' } });
  expect((await call(`${app.url}/other`, theirs)).text).toBe('ok');
  expect((await call(`${app.url}/me`, theirs)).status).toBe(401);
  expect((await call(`${app.url}/other`, await stage.token())).status).toBe(401);
});

test('an API without sessions has no routes, no cookie and no users', async () => {
  const app = await stage.api((express) => {
    express.get('/session', (req, res) => res.json({ oidc: typeof req.oidc, getToken: typeof req.getToken }));
  });
  expect((await call(`${app.url}/session`)).json).toEqual({ oidc: 'undefined', getToken: 'undefined' });
  expect((await call(`${app.url}/login`)).status).toBe(404);
  expect((await call(`${app.url}/session`)).headers.get('set-cookie')).toBeNull();
});

test('another issuer is never sent the client secret: its opaque tokens are refused', async () => {
  const other = stage.opened(await startProvider());
  const app = await stage.api((express) => {
    express.get('/other', requiresBearer({ audience: API, issuer: other.issuer }), (_req, res) =>
      res.send('ok'),
    );
  });
  other.down = { introspection: 500 };
  expect((await call(`${app.url}/other`, 'opaque')).status).toBe(401);
});

test('Express 4 answers the same', async () => {
  const app = await stage.api(undefined, {}, 4);
  expect(await call(`${app.url}/me`)).toMatchObject({ status: 401, challenge: 'Bearer' });
  expect((await call(`${app.url}/me`, await stage.token({ aud: 'other' }))).challenge).toContain(
    'invalid_token',
  );
  expect((await call(`${app.url}/me`, await stage.token())).status).toBe(200);
});
