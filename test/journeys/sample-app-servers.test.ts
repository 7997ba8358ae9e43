import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { SettingsError, settingsFrom } from '../../sample-app/settings.ts';
import { createWebApi } from '../../sample-app/web-api.ts';

const closing: (() => void)[] = [];
afterAll(() => {
  for (const close of closing) close();
});

describe("the sample's web API", () => {
  const rule = { audience: 'https://mail.example', scope: 'mail.read' };
  let issuer: string;
  let api: string;
  let keys: Awaited<ReturnType<typeof generateKeyPair>>;

  beforeAll(async () => {
    keys = await generateKeyPair('RS256');
    const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'RS256', use: 'sig' };
    issuer = await listen((request, response) => {
      const metadata = { issuer, jwks_uri: `${issuer}/keys` };
      response.end(JSON.stringify(request.url === '/keys' ? { keys: [jwk] } : metadata));
    });
    api = await listen(createWebApi({ issuer, rules: { mail: rule } }));
  });

  const good = { iss: '', aud: rule.audience, sub: 'alice', scope: 'openid mail.read', exp: inSeconds(60) };

  test.each<[string, Record<string, unknown>]>([
    ['scope', {}],
    ['scp as a list', { scope: undefined, scp: ['mail.read'] }],
    ['scp as a text', { scope: undefined, scp: 'mail.read' }],
  ])('a good token, with %s, opens it', async (_name, claims) => {
    const answer = await mail(await token(claims));
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ messages: expect.any(Array) });
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['has expired', { exp: inSeconds(-60) }, 'the token has expired'],
    ['is for another API', { aud: 'https://calendar.example' }, "the token's aud is not what this API needs"],
    [
      'is from another issuer',
      { iss: 'https://elsewhere.example' },
      "the token's iss is not what this API needs",
    ],
    ['has no end', { exp: undefined }, "the token's exp is not what this API needs"],
  ])('a token that %s is a 401 that says so', async (_name, claims, why) => {
    const answer = await mail(await token(claims));
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe(
      `Bearer realm="sample", error="invalid_token", error_description="${why}"`,
    );
  });

  test('a token that somebody else signed is a 401', async () => {
    const { privateKey } = await generateKeyPair('RS256');
    expect((await mail(await token({}, privateKey))).status).toBe(401);
  });

  test('no token is a 401 without an error code (RFC 6750 §3.1)', async () => {
    const answer = await fetch(`${api}/mail`);
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer realm="sample"');
  });

  test('a token without the scope is a 403 that names it', async () => {
    const answer = await mail(await token({ scope: 'mail.reader openid' }));
    expect(answer.status).toBe(403);
    expect(answer.headers.get('www-authenticate')).toContain('error="insufficient_scope", scope="mail.read"');
  });

  test('a provider that does not answer is a 503, and the API works as soon as it does', async () => {
    const log = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    let up = false;
    const shaky: string = await listen((_request, response) => {
      response.writeHead(up ? 200 : 500).end(JSON.stringify({ issuer, jwks_uri: `${issuer}/keys` }));
    });
    api = await listen(createWebApi({ issuer: shaky, rules: { mail: rule } }));
    expect((await mail(await token({}))).status).toBe(503);
    expect(log).toHaveBeenCalledWith(
      expect.stringContaining('could not be asked'),
      expect.stringContaining('500'),
    );
    log.mockRestore();
    up = true;
    expect((await mail(await token({}))).status).toBe(200);
  });

  async function token(claims: Record<string, unknown>, key = keys.privateKey): Promise<string> {
    const payload = JSON.parse(JSON.stringify({ ...good, iss: issuer, ...claims }));
    return new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid: 'one' }).sign(key);
  }

  function mail(accessToken: string): Promise<Response> {
    return fetch(`${api}/mail`, { headers: { authorization: `Bearer ${accessToken}` } });
  }
});

describe("the sample's settings", () => {
  test('nothing set: everything is local', () => {
    const { baseUrl, realProvider, access, rules } = settingsFrom({
      OIDC_CLIENT_ID: 'left over',
      MAIL_SCOPES: 'x',
    });
    expect({ baseUrl, realProvider }).toEqual({ baseUrl: 'http://localhost:3000', realProvider: undefined });
    expect(access.mail).toEqual({
      url: 'http://localhost:3002/mail',
      scopes: 'mail.read',
      resource: 'http://localhost:3002/mail',
    });
    expect(rules.calendar).toEqual({ audience: 'http://localhost:3002/calendar', scope: 'calendar.read' });
  });

  test('a real provider: only what was set is asked for', () => {
    const real = { OIDC_ISSUER: 'https://login.example', OIDC_CLIENT_ID: 'me' };
    expect(settingsFrom(real)).toMatchObject({
      realProvider: { issuer: 'https://login.example', clientId: 'me' },
      access: {},
      rules: {},
    });
    const entra = {
      MAIL_SCOPES: 'api://1/mail.read',
      MAIL_EXPECTED_AUDIENCE: '1',
      MAIL_EXPECTED_SCOPE: 'mail.read',
    };
    const { access, rules } = settingsFrom({
      ...real,
      ...entra,
      CALENDAR_SCOPES: 'c',
      CALENDAR_AUDIENCE: 'urn:c',
    });
    expect(access).toEqual({
      mail: { url: 'http://localhost:3002/mail', scopes: 'api://1/mail.read' },
      calendar: { url: 'http://localhost:3002/calendar', scopes: 'c', audience: 'urn:c' },
    });
    expect(rules).toEqual({
      mail: { audience: '1', scope: 'mail.read' },
      calendar: { audience: 'urn:c', scope: 'c' },
    });
  });

  test.each([
    [{ OIDC_ISSUER: 'https://login.example' }, 'Set OIDC_CLIENT_ID as your provider shows it'],
    [{ PORT: 'web' }, 'Set it to a port number between 1 and 65535'],
  ])('%j: an error that says what to do', (env, words) => {
    expect(() => settingsFrom(env)).toThrow(SettingsError);
    expect(() => settingsFrom(env)).toThrow(words);
  });
});

describe('npm start', () => {
  let running: ChildProcess | undefined;
  afterEach(() => {
    running?.kill('SIGKILL');
    running = undefined;
  });

  test('says where to go, keeps to its ports, and ends cleanly on SIGTERM', async () => {
    const [web, provider, api] = [await freePort(), await freePort(), await freePort()];
    const env = { PORT: `${web}`, PROVIDER_PORT: `${provider}`, API_PORT: `${api}` };
    const { child, output } = start(env);
    running = child;
    while (child.exitCode === null && !output().includes('Ctrl-C')) await delay(50);
    expect(output()).toContain(`Open http://localhost:${web}`);
    expect((await fetch(`http://localhost:${web}/`)).status).toBe(200);
    expect((await fetch(`http://localhost:${api}/mail`)).status).toBe(401);
    const discovery = await fetch(`http://localhost:${provider}/.well-known/openid-configuration`);
    expect(await discovery.json()).toMatchObject({ issuer: `http://localhost:${provider}` });

    const second = start({ ...env, PROVIDER_PORT: `${await freePort()}`, API_PORT: `${await freePort()}` });
    expect(await once(second.child, 'exit')).toEqual([1, null]);
    expect(second.output()).toContain(`Port ${web}, for the web app, is in use. Choose another one (PORT=`);
    expect(second.output()).not.toMatch(/^ +at /m);

    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
  }, 60_000);

  function start(env: Record<string, string>): { child: ChildProcess; output: () => string } {
    const { PATH, HOME } = process.env;
    const child = spawn(process.execPath, ['--import', 'tsx', 'sample-app/start.ts'], {
      env: { PATH, HOME, ...env },
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
    return { child, output: () => text };
  }
});

function inSeconds(seconds: number): number {
  return Math.floor(Date.now() / 1000) + seconds;
}

async function listen(handler: RequestListener): Promise<string> {
  const server = await serve(handler);
  closing.push(() => server.close());
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

async function freePort(): Promise<number> {
  const server = await serve(() => undefined);
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function serve(handler: RequestListener): Promise<Server> {
  const server = createServer(handler).listen(0, 'localhost');
  await once(server, 'listening');
  return server;
}
