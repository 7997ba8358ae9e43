import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import * as client from 'openid-client';
import { Browser } from './browser.ts';
import { startProvider, type TestProvider } from './provider.ts';
import { restoreTime } from './time.ts';

const CALLBACK = 'http://127.0.0.1:9/callback';

let provider: TestProvider;
let config: client.Configuration;

beforeAll(async () => {
  provider = await startProvider();
  config = await discover(provider);
});
beforeEach(() => provider.clearCalls());
afterEach(restoreTime);
afterAll(() => provider.close());

async function discover({ issuer, client: { clientId, clientSecret } }: TestProvider) {
  const execute = [client.allowInsecureRequests];
  return client.discovery(new URL(issuer), clientId, clientSecret, undefined, { execute });
}

/** Signs in with a new browser; the answer of the code redemption. */
async function login({ params = {}, at = config, browser = new Browser() } = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const start = client.buildAuthorizationUrl(at, {
    redirect_uri: CALLBACK,
    scope: 'openid profile offline_access a b c',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...params,
  });
  const page = await browser.navigate(start, { stopAt: ({ port }) => port === '9' });
  browser.close();
  return client.authorizationCodeGrant(at, new URL(page.url), {
    pkceCodeVerifier: verifier,
    expectedState: state,
  });
}

test('a browser signs in; a refresh rotates', async () => {
  const first = await login();
  expect(first).toMatchObject({ expires_in: 3600, scope: expect.stringContaining('a b c') });
  expect(first.claims()).toMatchObject({ sub: 'alice', name: 'Alice' });
  const second = await client.refreshTokenGrant(config, first.refresh_token!, { scope: 'b' });
  expect(second).toMatchObject({ scope: 'b' });
  expect(second.refresh_token).not.toBe(first.refresh_token);
  expect(provider.refreshCalls).toMatchObject([
    { params: { scope: 'b' }, status: 200, answer: { scope: 'b' } },
  ]);
});
