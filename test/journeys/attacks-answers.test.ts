import { describe, expect, test } from '@jest/globals';
import { startApp } from '../support/app.ts';
import type { TokenFault } from '../support/provider.ts';
import { browser, metadata, provider, safe, stage } from './attacks-stage.ts';
import { EVIL, heldCallback, listen, whoIs } from './attacks-support.ts';

// Answers that redirect, never end, never come, or are about somebody else.

describe('redirects', () => {
  test.each([301, 302, 303, 307, 308])('%d at the token endpoint is not followed', async (status) => {
    const visits: string[] = [];
    const evil = await listen((req, res) => {
      visits.push(String(req.url));
      res.end('{}');
    });
    provider.scriptAlways({ status, headers: { location: `${evil.url}/steal` }, body: '' });
    const page = await browser.login(stage.app);
    safe(page, 503);
    provider.scriptAlways(undefined);
    await browser.login(stage.app);
    provider.scriptAlways({ status, headers: { location: `${evil.url}/steal` }, body: '' });
    const refused = await browser.fetchJson(`${stage.app.url}/silent?force`);
    expect(refused.json).toMatchObject({ source: 'cache', stale: true });
    provider.scriptAlways(undefined);
    expect(visits).toEqual([]);
    evil.close();
  });

  test('nor anywhere else', async () => {
    await browser.login(stage.app);
    await browser.fetchJson(`${stage.app.url}/token?force`);
    await browser.fetchJson(`${stage.app.url}/userinfo`);
    expect(stage.sent.length).toBeGreaterThan(4);
    expect(new Set(stage.sent.map(({ redirect }) => redirect))).toEqual(new Set(['manual']));
  });
});

describe('answers without end', () => {
  /** JSON that goes on for ever; resolves when the reader has had enough of it. */
  function endless(): { response: () => Promise<Response>; cancelled: Promise<unknown> } {
    let resolve: () => void = () => {};
    const cancelled = new Promise<void>((done) => {
      resolve = done;
    });
    const chunk = new TextEncoder().encode(' '.repeat(65_536));
    const response = async () =>
      new Response(
        new ReadableStream({
          pull: (controller) => controller.enqueue(chunk),
          cancel: resolve,
        }),
        { headers: { 'content-type': 'application/json' } },
      );
    return { response, cancelled };
  }

  test.each([
    ['discovery', '/.well-known/openid-configuration', 503],
    ['keys', '/jwks', 503],
    ['token endpoint', '/token', 503],
  ])('%s: given up, and the next login works', async (_name, path, status) => {
    const { response, cancelled } = endless();
    stage.answers[path] = response;
    safe(await browser.login(stage.app), status);
    await cancelled;
    stage.answers = {};
    await browser.login(stage.app);
    expect(await whoIs(browser, stage.app)).toBe('signed in as alice');
  });

  test('userinfo', async () => {
    await browser.login(stage.app);
    const { response, cancelled } = endless();
    stage.answers['/me'] = response;
    expect((await browser.fetchJson(`${stage.app.url}/userinfo`)).json).toEqual({
      failed: 'TokenEndpointError',
    });
    await cancelled;
  });

  test('more than 1 MiB of tokens, and just below it', async () => {
    await browser.login(stage.app);
    const pad = (size: number) =>
      provider.scriptAlways({ json: { access_token: 'padded', expires_in: 60, pad: 'x'.repeat(size) } });
    pad(1024 * 1024 - 4000);
    expect((await browser.fetchJson(`${stage.app.url}/silent?force`)).json).toMatchObject({
      source: 'provider',
    });
    pad(1024 * 1024);
    const { json } = await browser.fetchJson(`${stage.app.url}/silent?force`);
    provider.scriptAlways(undefined);
    expect(json).toMatchObject({ source: 'cache', stale: true });
  });
});

describe('slow answers', () => {
  test('a token endpoint that never answers a login', async () => {
    provider.script({ hang: true });
    safe(await browser.login(stage.app), 503);
    await browser.login(stage.app);
    expect(await whoIs(browser, stage.app)).toBe('signed in as alice');
  });

  test('one that sends a byte now and then', async () => {
    const dripping = await listen((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => res.write(' '), 20);
      res.on('close', () => clearInterval(timer));
    });
    metadata({ token_endpoint: `${dripping.url}/token` });
    safe(await browser.login(stage.app), 503);
    dripping.close();
  });

  test('logout waits a second at most for a provider that was never reached', async () => {
    await browser.login(stage.app);
    const other = await startApp({
      provider,
      store: stage.app.store,
      auth: { fetch: () => new Promise(() => {}), encryptionKeys: [] },
    });
    browser.cookies.set(other.url, 'connect.sid', String(browser.cookies.get(stage.app.url, 'connect.sid')));
    expect(await whoIs(browser, other)).toBe('signed in as alice');
    const page = await browser.navigate(`${other.url}/logout`);
    expect([page.url, page.text]).toEqual([`${other.url}/`, 'anonymous']);
    await other.close();
  });
});

describe('userinfo', () => {
  test.each<[string, () => Response]>([
    ['another sub', () => Response.json({ sub: 'mallory', name: 'Alice' })],
    ['no sub', () => Response.json({ name: 'Alice' })],
    ['sub in a list', () => Response.json({ sub: ['alice'] })],
    ['HTML', () => new Response('<html>', { headers: { 'content-type': 'text/html' } })],
    ['null', () => Response.json(null)],
    ['a redirect', () => new Response(null, { status: 302, headers: { location: EVIL } })],
    ['500', () => new Response('{}', { status: 500 })],
  ])('%s: refused', async (_name, answer) => {
    await browser.login(stage.app);
    expect((await browser.fetchJson(`${stage.app.url}/userinfo`)).json).toMatchObject({ sub: 'alice' });
    stage.answers['/me'] = async () => answer();
    expect((await browser.fetchJson(`${stage.app.url}/userinfo`)).json).toEqual({
      failed: 'TokenEndpointError',
    });
    safe(await browser.request(stage.app.url), 200);
  });
});

describe('what a code was answered with, where that is no token, is in the log', () => {
  test.each<[string, TokenFault, string]>([
    [
      'no access token',
      { mutate: ({ access_token: _none, ...json }) => json },
      'without a usable access_token',
    ],
    ['a firewall', { status: 403, body: '<h1>Forbidden</h1>' }, 'It answered 403'],
    ['a redirect', { status: 302, body: '', headers: { location: EVIL } }, 'It answered 302'],
  ])('%s', async (_name, fault, cause) => {
    provider.script(fault);
    safe(await browser.login(stage.app), 503);
    const details = { cause: expect.stringContaining(cause) };
    expect(stage.app.logs.at(-1)).toMatchObject({ level: 'error', details });
  });
});

test('an access token that would break out of a header is none', async () => {
  const callback = await heldCallback(browser, stage.app);
  provider.script({ mutate: (json) => ({ ...json, access_token: 'at\r\nx-evil: 1' }) });
  const page = await browser.navigate(callback);
  expect([page.status, await whoIs(browser, stage.app)]).toEqual([503, 'anonymous']);
  expect(`${page.text}${stage.app.logText()}`).not.toContain('x-evil');
});
