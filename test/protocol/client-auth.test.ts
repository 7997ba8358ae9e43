import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { JWK } from 'jose';
import { ConfigurationError } from '../../src/core/errors.ts';
import { type ClientCredentials, clientAuthentication } from '../../src/protocol/client-auth.ts';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { startProvider, type TestProvider, type TokenCall } from '../support/provider.ts';
import { generateKeys } from '../support/provider-keys.ts';

type AuthOptions = Parameters<typeof startApp>[0]['auth'];

/** Characters that escape differently in a form and in a header. */
const ODD = { clientId: 'web app:+%', clientSecret: 's:+%/ "&=?'.repeat(4) };
const redirect = {
  redirect_uris: ['http://127.0.0.1/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
};

let provider: TestProvider;
let keyServer: Server;
let rsa: JWK;
let ec: JWK;
let browser: Browser;
let app: TestApp;

const publicJwk = ({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...key }: JWK) => key;

beforeAll(async () => {
  [rsa, ec] = (await generateKeys()) as [JWK, JWK];
  // oidc-provider clones its clients into Node's own realm, and then does not know a `jwks` of Jest's any more.
  const jwks = JSON.stringify({ keys: [publicJwk(rsa), publicJwk(ec)] });
  keyServer = createServer((_req, res) => res.end(jwks)).listen(0, '127.0.0.1');
  await once(keyServer, 'listening');
  const jwks_uri = `http://127.0.0.1:${(keyServer.address() as AddressInfo).port}/`;
  provider = await startProvider({
    clients: [
      { ...redirect, client_id: 'with-key', token_endpoint_auth_method: 'private_key_jwt', jwks_uri },
      { ...redirect, client_id: 'public', token_endpoint_auth_method: 'none' },
      {
        ...redirect,
        client_id: 'with-mac',
        client_secret: 'm'.repeat(40),
        token_endpoint_auth_method: 'client_secret_jwt',
      },
      { ...redirect, client_id: ODD.clientId, client_secret: ODD.clientSecret },
    ],
  });
});
beforeEach(() => {
  provider.clearCalls();
  provider.tamper = {};
  browser = new Browser();
});
afterEach(async () => {
  browser.close();
  await app?.close();
});
afterAll(async () => {
  await provider.close();
  keyServer.close();
  keyServer.closeAllConnections();
});

/** Signs in and refreshes; both token requests. */
async function signIn(auth: NonNullable<AuthOptions>): Promise<[TokenCall, TokenCall]> {
  app = await startApp({ auth: { issuer: provider.issuer, ...auth } });
  expect((await browser.login(app)).text).toBe('signed in as alice');
  const { json } = await browser.fetchJson(`${app.url}/token?force`);
  expect(json).toMatchObject({ source: 'provider', reason: 'forced' });
  expectNoSecrets(app.logText(), provider);
  return provider.tokenCalls as [TokenCall, TokenCall];
}

function decoded(jwt: unknown, part: 0 | 1): unknown {
  return JSON.parse(Buffer.from(String(jwt).split('.')[part]!, 'base64url').toString());
}

describe('against the real provider, at login and refresh', () => {
  test('auto is client_secret_post where both are offered', async () => {
    for (const { params, headers } of await signIn(provider.client)) {
      expect(params).toMatchObject({ client_id: 'web-app', client_secret: provider.client.clientSecret });
      expect(headers).not.toHaveProperty('authorization');
    }
  });

  test('auto is client_secret_basic where that is all there is', async () => {
    provider.tamper.discovery = (document) => ({
      ...document,
      token_endpoint_auth_methods_supported: ['client_secret_basic'],
    });
    for (const { params, headers } of await signIn(provider.client)) {
      expect(params).not.toHaveProperty('client_secret');
      expect(headers.authorization).toMatch(/^Basic /);
    }
  });

  test.each(['client_secret_basic', 'client_secret_post'] as const)(
    '%s with characters that need escaping',
    async (clientAuth) => {
      await signIn({ ...ODD, clientAuth });
    },
  );

  test.each(['RS256', 'ES256'])('private_key_jwt with a key for %s', async (alg) => {
    const key = alg === 'RS256' ? rsa : ec;
    const calls = await signIn({ clientId: 'with-key', clientPrivateKey: { ...key, alg } });
    for (const { params } of calls) {
      expect(params).not.toHaveProperty('client_secret');
      expect(params.client_assertion_type).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
      expect(decoded(params.client_assertion, 0)).toMatchObject({ alg, kid: key.kid });
      expect(decoded(params.client_assertion, 1)).toMatchObject({ iss: 'with-key', sub: 'with-key' });
    }
    const [first, second] = calls.map(({ params }) => decoded(params.client_assertion, 1) as { jti: string });
    expect(first?.jti).not.toBe(second?.jti);
  });

  test('private_key_jwt spelled out, its RSA key without alg', async () => {
    const { alg: _alg, ...key } = rsa;
    const [{ params }] = await signIn({
      clientId: 'with-key',
      clientPrivateKey: key,
      clientAuth: 'private_key_jwt',
    });
    expect(decoded(params.client_assertion, 0)).toMatchObject({ alg: 'RS256' });
  });

  test('client_secret_jwt', async () => {
    const clientSecret = 'm'.repeat(40);
    for (const { params } of await signIn({
      clientId: 'with-mac',
      clientSecret,
      clientAuth: 'client_secret_jwt',
    })) {
      expect(JSON.stringify(params)).not.toContain(clientSecret);
      expect(decoded(params.client_assertion, 0)).toMatchObject({ alg: 'HS256' });
    }
  });

  test('none: a public client, found by having no secret', async () => {
    for (const { params, headers } of await signIn({ clientId: 'public' })) {
      expect(params.client_id).toBe('public');
      expect(headers).not.toHaveProperty('authorization');
      expect(params).not.toHaveProperty('client_assertion');
    }
  });

  test('a function of the app', async () => {
    const [{ params }] = await signIn({
      clientId: 'web-app',
      clientAuth: (_server, client, body) => {
        body.set('client_id', client.client_id);
        body.set('client_secret', provider.client.clientSecret);
        body.set('extra', 'yes');
      },
    });
    expect(params).toMatchObject({ extra: 'yes' });
  });

  test('a wrong secret: an error of the set-up, with no secret in any output', async () => {
    const clientSecret = 'wrong-secret-0123456789';
    app = await startApp({ auth: { issuer: provider.issuer, clientId: 'web-app', clientSecret } });
    const page = await browser.login(app);
    expect(page.status).toBe(500);
    expect(page.text).toContain('not set up correctly');
    expect(app.logText()).toMatch(/invalid_client.*clientAuth/);
    expect(page.text + app.logText()).not.toContain(clientSecret);
    expectNoSecrets([page.text, page.headers, app.logText()], provider);
  });
});

describe('auto chooses', () => {
  const choose = async (offered: string[] | undefined, credentials: Partial<ClientCredentials>) => {
    const authenticate = await clientAuthentication({
      clientAuth: 'auto',
      clientSecret: undefined,
      clientPrivateKey: undefined,
      ...credentials,
    });
    const server = {
      issuer: 'https://op.example',
      ...(offered ? { token_endpoint_auth_methods_supported: offered } : {}),
    };
    const [body, headers] = [new URLSearchParams(), new Headers()];
    await Promise.resolve(authenticate(server, { client_id: 'c' }, body, headers));
    if (headers.has('authorization')) return 'basic';
    if (body.has('client_assertion'))
      return (decoded(body.get('client_assertion'), 0) as { alg: string }).alg === 'HS256' ? 'mac' : 'key';
    return body.has('client_secret') ? 'post' : 'none';
  };
  const secret = { clientSecret: 's'.repeat(32) };

  test.each([
    [['client_secret_basic', 'client_secret_post'], 'post'],
    [['private_key_jwt', 'client_secret_basic'], 'basic'],
    [['client_secret_jwt', 'client_secret_basic'], 'basic'],
    [['client_secret_jwt', 'private_key_jwt'], 'mac'],
    [['tls_client_auth', 'none'], 'post'],
    [[], 'post'],
    [undefined, 'basic'],
  ])('with a secret, offered %j: %s', async (offered, expected) => {
    expect(await choose(offered, secret)).toBe(expected);
  });

  test('a private key before all, and without anything nothing', async () => {
    const offered = ['client_secret_post', 'none'];
    expect(await choose(offered, { ...secret, clientPrivateKey: rsa })).toBe('key');
    expect(await choose(offered, {})).toBe('none');
  });
});

describe('a key that cannot sign is an error of the set-up, which names clientPrivateKey', () => {
  test.each<[string, () => Record<string, unknown>]>([
    ['a public key', () => publicJwk(rsa)],
    ['a symmetric key', () => ({ kty: 'oct', k: 'c2VjcmV0' })],
    ['no key', () => ({})],
    ['half a key', () => ({ kty: 'EC', d: ec.d, alg: 'ES256' })],
    ['an EC key without alg', () => ({ ...ec, alg: undefined })],
  ])('%s', async (_name, jwk) => {
    const clientPrivateKey = jwk();
    const made = clientAuthentication({
      clientAuth: 'private_key_jwt',
      clientSecret: undefined,
      clientPrivateKey,
    });
    const error = (await made.then(
      () => undefined,
      (thrown: unknown) => thrown,
    )) as ConfigurationError;
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain('clientPrivateKey');
    if (typeof clientPrivateKey.d === 'string')
      expect(JSON.stringify(error)).not.toContain(clientPrivateKey.d);
  });
});
