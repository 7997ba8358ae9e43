import { describe, expect, test } from '@jest/globals';
import { generateKeyPair } from 'jose';
import { startApp } from '../support/app.ts';
import { unsignedToken } from '../support/provider.ts';
import { browser, metadata, provider, stage } from './attacks-stage.ts';

const REFUSED = { failed: 'TokenEndpointError' };

async function userInfo(of = stage.app): Promise<unknown> {
  return (await browser.fetchJson(`${of.url}/userinfo`)).json;
}

async function answer(jwt: string, type = 'application/jwt'): Promise<unknown> {
  stage.answers['/me'] = async () => new Response(jwt, { headers: { 'content-type': type } });
  return userInfo();
}

describe('an answer that is a JWT (OpenID Connect Core §5.3.2)', () => {
  test.each<[string, Record<string, unknown>]>([
    ['named in the metadata', { userinfo_signing_alg_values_supported: ['RS256', 'ES256'] }],
    ['not named there', {}],
  ])('its algorithms %s: the claims of the user', async (_name, changes) => {
    metadata(changes);
    await browser.login(stage.app);
    for (const options of [{}, { alg: 'ES256' }]) {
      const jwt = await provider.signIdToken({ iat: undefined, exp: undefined, name: 'Alice' }, options);
      expect(await answer(jwt, 'application/jwt; charset=utf-8')).toMatchObject({
        sub: 'alice',
        name: 'Alice',
      });
    }
    const bare = await provider.signIdToken({ iss: undefined, aud: undefined });
    expect(await answer(bare, 'Application/JWT')).toMatchObject({ sub: 'alice' });
  });

  test('not signed by the provider, or not for this client and user: refused', async () => {
    metadata({ userinfo_signing_alg_values_supported: ['RS256', 'none', 'HS256'] });
    await browser.login(stage.app);
    const { privateKey } = await generateKeyPair('RS256');
    const secret = Buffer.from(provider.client.clientSecret);
    const claims = { iss: provider.issuer, aud: provider.client.clientId, sub: 'alice' };
    const jwts = [
      await provider.signIdToken({}, { key: privateKey }),
      await provider.signIdToken({}, { alg: 'HS256', key: secret }),
      unsignedToken(claims),
      await provider.signIdToken({ sub: 'mallory' }),
      await provider.signIdToken({ iss: 'https://other.example' }),
      await provider.signIdToken({ aud: 'another' }),
      'no JWT',
      '',
    ];
    for (const jwt of jwts) expect(await answer(jwt)).toEqual(REFUSED);
  });
});

test('a login for an audience: its own token is the one for the userinfo endpoint', async () => {
  const app = await startApp({
    provider,
    auth: { scopes: 'openid profile', authorizationParams: { audience: 'https://api.example' } },
    routes: (site) => {
      site.get('/userinfo', async (req, res) => void res.json(await req.oidc.fetchUserInfo()));
    },
  });
  try {
    await browser.login(app);
    expect(await userInfo(app)).toMatchObject({ sub: 'alice' });
    expect(provider.refreshCalls).toEqual([]);
  } finally {
    await app.close();
  }
});

test('an endpoint that does not answer holds nobody longer than a refresh does', async () => {
  const app = await startApp({
    provider,
    auth: {
      callerTimeoutMs: 500,
      fetch: (url, init) => (String(url).endsWith('/me') ? new Promise(() => {}) : fetch(url, init)),
    },
    routes: (site) => {
      site.get('/userinfo', async (req, res) => void res.json(await req.oidc.fetchUserInfo()));
    },
  });
  try {
    await browser.login(app);
    const answer = await browser.fetchJson(`${app.url}/userinfo`);
    expect([answer.status, answer.headers['retry-after']]).toEqual([503, '5']);
  } finally {
    await app.close();
  }
});
