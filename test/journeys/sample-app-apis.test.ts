import '../support/quiet.ts';

import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { listen, type Stop, stopAll, stopListening } from '../../sample-app/listen.ts';
import { createLocalProvider } from '../../sample-app/provider/provider.ts';
import { TOKEN_EXCHANGE } from '../../sample-app/provider/token-exchange.ts';
import { type ApiName, type Settings, settingsFrom } from '../../sample-app/settings.ts';
import { createWebApi } from '../../sample-app/web-api/app.ts';
import { createDirectory } from '../../sample-app/web-api/directory.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { call } from './api-stage.ts';
import { freePorts } from './sample-app-setup.ts';

const started: Stop[] = [];
afterAll(() => stopAll(started));

describe("the sample's web APIs", () => {
  const names: ApiName[] = ['mail', 'calendar', 'contacts', 'payments', 'statistics', 'directory'];
  let provider: TestProvider;
  let settings: Settings;

  beforeAll(async () => {
    provider = await startProvider();
    started.push(() => provider.close());
    settings = settingsFrom(await freePorts());
    await startApis(provider);
  });

  afterEach(() => {
    provider.scriptAlways(undefined);
  });

  async function startApis({ issuer, api: client }: Pick<TestProvider, 'issuer' | 'api'>): Promise<void> {
    const { rules, access, stepUpAcr, apiPort, directoryPort } = settings;
    const { directory } = access;
    // The test provider knows no scopes of the sample's; so its own is asked for there.
    const target = { ...directory!, resource: 'https://r2.example', scopes: 'read' };
    const webApi = createWebApi({ issuer, client, rules, directory: target, stepUpAcr });
    started.push(webApi.close);
    const server = await listen(webApi.app, { port: apiPort, what: '', variable: '' });
    started.push(() => stopListening(server));
    const second = createDirectory({ issuer, client, rule: rules.directory });
    started.push(second.close);
    const secondServer = await listen(second.app, { port: directoryPort, what: '', variable: '' });
    started.push(() => stopListening(secondServer));
  }

  /** One that is good for this API, unless the claims say otherwise. */
  function token(name: ApiName, claims: Record<string, unknown> = {}): Promise<string> {
    const { audience, scope, claims: demanded = {} } = settings.rules[name]!;
    const good = { aud: audience, scope, acr: 'second-factor', ...demanded, ...claims };
    return provider.signIdToken(good, { header: { typ: 'at+jwt' } });
  }

  const ask = (name: ApiName, accessToken?: string) => call(settings.access[name]!.url, accessToken);

  test('each takes its own token, and none of the others', async () => {
    for (const name of names) {
      for (const other of names) {
        if (name === 'contacts' && other === name) continue; // that one goes on to the directory, below
        const { status, challenge } = await ask(name, await token(other));
        expect({ name, other, status }).toEqual({ name, other, status: name === other ? 200 : 401 });
        if (status === 401) expect(challenge).toContain('error="invalid_token"');
      }
    }
  });

  test.each(names)(
    '/%s: no token is a 401 without an error code, a token without the scope a 403',
    async (name) => {
      expect(await ask(name)).toMatchObject({ status: 401, challenge: 'Bearer' });
      const { status, challenge } = await ask(name, await token(name, { scope: 'openid' }));
      expect(status).toBe(403);
      expect(challenge).toContain(`scope="${settings.rules[name]?.scope}"`);
    },
  );

  test('payments: without a second factor a 401 that says what is wanted (RFC 9470)', async () => {
    const { status, challenge } = await ask('payments', await token('payments', { acr: undefined }));
    expect(status).toBe(401);
    expect(challenge).toMatch(/error="insufficient_user_authentication".*acr_values="second-factor"/);
  });

  test('statistics: not for a user, whatever the scope', async () => {
    expect(await ask('statistics', await token('statistics', { sub: 'alice' }))).toMatchObject({
      status: 403,
    });
  });

  test('contacts: a directory that refuses is a 502 that keeps its reasons to the log', async () => {
    const log = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    const answer = await ask('contacts', await token('contacts'));
    expect(answer).toMatchObject({
      status: 502,
      json: { message: expect.stringContaining('could not be had') },
    });
    expect(log).toHaveBeenCalledWith(
      'web API:',
      expect.objectContaining({ message: 'The directory answered 401' }),
    );
    log.mockRestore();
  });

  test('a provider that is down is a 503 with Retry-After, where it is needed', async () => {
    const log = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    provider.scriptAlways({ status: 503 });
    const answer = await ask('contacts', await token('contacts', { jti: 'another' }));
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    expect((await ask('mail', await token('mail'))).status).toBe(200);
    log.mockRestore();
  });
});

describe("the local provider's token endpoint", () => {
  const app = { clientId: 'sample-app', clientSecret: 'a'.repeat(32) };
  const api = { clientId: 'sample-api', clientSecret: 'b'.repeat(32) };
  let settings: Settings;
  let issuer: string;

  beforeAll(async () => {
    settings = settingsFrom(await freePorts());
    const { baseUrl, rules, providerPort } = settings;
    issuer = `http://localhost:${providerPort}`;
    const provider = createLocalProvider({ issuer, baseUrl, app, api, rules, accessTokenSeconds: 120 });
    const server = await listen(provider, { port: providerPort, what: '', variable: '' });
    started.push(() => stopListening(server));
  });

  async function grant(client: typeof app, parameters: Record<string, string>) {
    const { clientId: client_id, clientSecret: client_secret } = client;
    const body = new URLSearchParams({ client_id, client_secret, ...parameters });
    const answer = await fetch(`${issuer}/token`, { method: 'POST', body });
    return (await answer.json()) as { access_token?: string; error?: string; scope?: string };
  }

  const forItself = (client: typeof app, name: ApiName) => {
    const { resource, scopes } = settings.access[name]!;
    return grant(client, { grant_type: 'client_credentials', resource: resource!, scope: scopes });
  };

  const exchange = (client: typeof app, subject: string, name: ApiName = 'directory') => {
    const { resource, scopes } = settings.access[name]!;
    const subject_token_type = 'urn:ietf:params:oauth:token-type:access_token';
    const wanted = { resource: resource!, scope: scopes };
    return grant(client, {
      grant_type: TOKEN_EXCHANGE,
      subject_token: subject,
      subject_token_type,
      ...wanted,
    });
  };

  test('an app token is for the app’s own API alone', async () => {
    expect(await forItself(app, 'statistics')).toMatchObject({ scope: 'statistics.read' });
    for (const name of ['mail', 'contacts', 'directory'] as const)
      expect(await forItself(app, name)).toMatchObject({ error: 'invalid_target' });
    expect(await forItself(api, 'statistics')).toMatchObject({ error: 'invalid_request' });
  });

  test('only the web API exchanges, only tokens that were meant for it, only for the directory', async () => {
    const { access_token: other = '' } = await forItself(app, 'statistics');
    expect(await exchange(api, other)).toMatchObject({ error: 'invalid_grant' });
    expect(await exchange(api, 'eyJhbGciOiJub25lIn0.e30.')).toMatchObject({ error: 'invalid_grant' });
    expect(await exchange(api, other, 'mail')).toMatchObject({ error: 'invalid_target' });
    expect(await exchange(app, other)).toMatchObject({ error: 'invalid_request' });
  });
});
