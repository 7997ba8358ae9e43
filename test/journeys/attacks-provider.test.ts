import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { EVIL, expectSafe, heldCallback, listen, whoIs } from './attacks-support.ts';

// A provider, or somebody between it and the app, that means harm outside of the ID token.

type Fetch = (url: string, init: RequestInit) => Promise<Response>;

let provider: TestProvider;
let app: TestApp;
let browser: Browser;
/** Where the app sent something, and whether `fetch` was to follow redirects. */
let sent: { url: string; redirect: string | undefined }[];
/** Answers instead of the provider's, by the end of the URL. */
let answers: Record<string, Fetch>;

beforeAll(async () => {
  provider = await startProvider();
});
beforeEach(async () => {
  [sent, answers] = [[], {}];
  provider.clearCalls();
  provider.tamper = {};
  browser = new Browser({ account: 'alice' });
  app = await startApp({
    provider,
    auth: {
      grantTimeoutMs: 400,
      fetch: async (url, init) => {
        sent.push({ url, redirect: init.redirect });
        const answer = Object.entries(answers).find(([end]) => url.endsWith(end))?.[1];
        return answer === undefined ? fetch(url, init) : answer(url, init);
      },
    },
    routes: (site) => {
      site.get('/userinfo', (req, res, next) => {
        req.oidc.fetchUserInfo().then(
          (claims) => res.json(claims),
          (error: unknown) => (res.headersSent ? next(error) : res.json({ failed: (error as Error).name })),
        );
      });
    },
  });
});
afterEach(async () => {
  browser.close();
  await app.close();
});
afterAll(() => provider.close());

const metadata = (changes: Record<string, unknown>) => {
  provider.tamper.discovery = (document) => ({ ...document, ...changes });
};
const safe = (page: Parameters<typeof expectSafe>[0], ...only: number[]) =>
  expectSafe(page, { app, provider, only });
const sentHosts = () => new Set(sent.map(({ url }) => new URL(url).host));

describe('discovery', () => {
  test.each<[string, () => unknown]>([
    ['another issuer', () => EVIL],
    ['a slash more', () => `${provider.issuer}/`],
    ['no issuer', () => undefined],
    ['an issuer that is no text', () => [provider.issuer]],
    ['markup', () => '<script>alert(1)</script>'],
  ])('%s: no login, and the log says why', async (_name, issuer) => {
    metadata({ issuer: issuer() });
    const page = await browser.login(app);
    safe(page, 500, 503);
    expect(page.hops).toHaveLength(1);
    expect(provider.authorizations).toEqual([]);
    metadata({});
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });

  test('another issuer is told to whoever set the app up, not to users', async () => {
    metadata({ issuer: EVIL });
    const page = await browser.login(app);
    expect(page.text).not.toContain('evil.example');
    expect(app.logText()).toMatch(/calls itself http:\/\/evil\.example, but OIDC_ISSUER .* is http:\/\/127/);
  });

  test.each<[string, unknown]>([
    ['plain http', `${EVIL}/auth`],
    ['javascript:', 'javascript:alert(1)'],
    ['data:', 'data:text/html,x'],
    ['no URL', 'auth'],
    ['no text', 5],
    ['empty', ''],
    ['missing', undefined],
  ])('an authorization endpoint: %s', async (_name, authorization_endpoint) => {
    metadata({ authorization_endpoint });
    const page = await browser.login(app);
    safe(page, 500, 503);
    expect(page.headers.location).toBeUndefined();
  });

  test.each<[string, unknown]>([
    ['plain http', `${EVIL}/x`],
    ['file:', 'file:///etc/passwd'],
    ['javascript:', 'javascript:alert(1)'],
    ['no URL', 'x'],
    ['no text', { url: 'x' }],
    ['missing', undefined],
  ])('a token endpoint, keys: %s', async (_name, url) => {
    for (const name of ['token_endpoint', 'jwks_uri']) {
      metadata({ [name]: url });
      const own = await startApp({ provider, auth: { fetch: recordingFetch } });
      const page = await browser.login(own);
      expectSafe(page, { app: own, provider, only: [500, 503] });
      expect(await whoIs(browser, own)).toBe('anonymous');
      await own.close();
    }
    expect(sentHosts()).toEqual(new Set([new URL(provider.issuer).host]));
  });

  const recordingFetch: Fetch = (url, init) => {
    sent.push({ url, redirect: init.redirect });
    return fetch(url, init);
  };

  test.each(['plain http', 'javascript:'])(
    'the other endpoints: %s: tokens are not sent there',
    async (kind) => {
      const url = kind === 'plain http' ? `${EVIL}/x` : 'javascript:alert(1)//';
      metadata({ userinfo_endpoint: url, revocation_endpoint: url, end_session_endpoint: url });
      await browser.login(app);
      expect(await whoIs(browser, app)).toBe('signed in as alice');
      const userinfo = await browser.fetchJson(`${app.url}/userinfo`);
      expect(userinfo.json).toEqual({ failed: 'TokenEndpointError' });
      const page = await browser.navigate(`${app.url}/logout`);
      expect([page.url, page.text]).toEqual([`${app.url}/`, 'anonymous']);
      expect(page.hops.map(({ url: hop }) => new URL(hop).host)).toEqual(
        Array(2).fill(new URL(app.url).host),
      );
      expect(sentHosts()).toEqual(new Set([new URL(provider.issuer).host]));
      expect(app.logText()).not.toContain('TypeError');
    },
  );

  test('no metadata can take PKCE, state or nonce away', async () => {
    metadata({
      code_challenge_methods_supported: ['plain'],
      response_types_supported: ['token'],
      response_modes_supported: ['fragment'],
    });
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
    expect(provider.authorizations.at(-1)).toMatchObject({
      response_type: 'code',
      code_challenge_method: 'S256',
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      state: expect.stringMatching(/^.{43,}$/),
      nonce: expect.stringMatching(/^.{43,}$/),
    });
    expect(provider.tokenCalls.at(-1)?.params.code_verifier).toMatch(/^[\w-]{43,}$/);
  });
});

describe('redirects', () => {
  test.each([301, 302, 303, 307, 308])('%d at the token endpoint is not followed', async (status) => {
    const visits: string[] = [];
    const evil = await listen((req, res) => {
      visits.push(String(req.url));
      res.end('{}');
    });
    provider.scriptAlways({ status, headers: { location: `${evil.url}/steal` }, body: '' });
    const page = await browser.login(app);
    safe(page, 503);
    provider.scriptAlways(undefined);
    await browser.login(app);
    provider.scriptAlways({ status, headers: { location: `${evil.url}/steal` }, body: '' });
    const refused = await browser.fetchJson(`${app.url}/silent?force`);
    expect(refused.json).toMatchObject({ source: 'cache', stale: true });
    provider.scriptAlways(undefined);
    expect(visits).toEqual([]);
    evil.close();
  });

  test('nor anywhere else', async () => {
    await browser.login(app);
    await browser.fetchJson(`${app.url}/token?force`);
    await browser.fetchJson(`${app.url}/userinfo`);
    expect(sent.length).toBeGreaterThan(4);
    expect(new Set(sent.map(({ redirect }) => redirect))).toEqual(new Set(['manual']));
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
    answers[path] = response;
    safe(await browser.login(app), status);
    await cancelled;
    answers = {};
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });

  test('userinfo', async () => {
    await browser.login(app);
    const { response, cancelled } = endless();
    answers['/me'] = response;
    expect((await browser.fetchJson(`${app.url}/userinfo`)).json).toEqual({ failed: 'TokenEndpointError' });
    await cancelled;
  });

  test('more than 1 MiB of tokens, and just below it', async () => {
    await browser.login(app);
    const pad = (size: number) => provider.script({ mutate: (json) => ({ ...json, pad: 'x'.repeat(size) }) });
    pad(1024 * 1024 - 4000);
    expect((await browser.fetchJson(`${app.url}/silent?force`)).json).toMatchObject({ source: 'provider' });
    pad(1024 * 1024);
    expect((await browser.fetchJson(`${app.url}/silent?force`)).json).toMatchObject({ stale: true });
  });
});

describe('slow answers', () => {
  test('a token endpoint that never answers a login', async () => {
    provider.script({ hang: true });
    safe(await browser.login(app), 503);
    await browser.login(app);
    expect(await whoIs(browser, app)).toBe('signed in as alice');
  });

  test('one that sends a byte now and then', async () => {
    const dripping = await listen((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => res.write(' '), 20);
      res.on('close', () => clearInterval(timer));
    });
    metadata({ token_endpoint: `${dripping.url}/token` });
    safe(await browser.login(app), 503);
    dripping.close();
  });

  test('logout waits a second at most for a provider that was never reached', async () => {
    await browser.login(app);
    const other = await startApp({
      provider,
      store: app.store,
      auth: { fetch: () => new Promise(() => {}), encryptionKeys: [] },
    });
    browser.cookies.set(other.url, 'connect.sid', String(browser.cookies.get(app.url, 'connect.sid')));
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
    await browser.login(app);
    expect((await browser.fetchJson(`${app.url}/userinfo`)).json).toMatchObject({ sub: 'alice' });
    answers['/me'] = async () => answer();
    expect((await browser.fetchJson(`${app.url}/userinfo`)).json).toEqual({ failed: 'TokenEndpointError' });
    safe(await browser.request(app.url), 200);
  });
});

test('an access token that would break out of a header is none', async () => {
  const callback = await heldCallback(browser, app);
  provider.script({ mutate: (json) => ({ ...json, access_token: 'at\r\nx-evil: 1' }) });
  const page = await browser.navigate(callback);
  expect([page.status, await whoIs(browser, app)]).toEqual([503, 'anonymous']);
  expect(`${page.text}${app.logText()}`).not.toContain('x-evil');
});
