import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { startApp, type TestApp } from '../support/app.ts';
import { type Answer, Browser } from '../support/browser.ts';
import { collectConsole, surfaceRejections } from '../support/leaks.ts';
import { fc, runs } from '../support/properties.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { expectSafe, heldCallback, sendRaw, whoIs } from './attacks-support.ts';

// Whatever is sent to the login, callback and logout routes: a safe page, JSON or redirect, and no error of ours.

let provider: TestProvider;
let apps: { query: TestApp; form_post: TestApp };
let browser: Browser;
let output: ReturnType<typeof collectConsole>;
/** Pieces that lead somewhere: states of pending logins, the issuer, a sealed request. */
let known: string[];

beforeAll(async () => {
  provider = await startProvider();
  output = collectConsole();
  apps = {
    query: await startApp({ provider }),
    form_post: await startApp({ provider, auth: { responseMode: 'form_post' } }),
  };
});
beforeEach(async () => {
  browser = new Browser({ account: 'alice' });
  const { json } = await browser.fetchJson(`${apps.query.url}/token`);
  const sealed = new URL((json as { loginUrl: string }).loginUrl).searchParams.get('request')!;
  const pending = await heldCallback(browser, apps.query);
  const elsewhere = await heldCallback(new Browser(), apps.query);
  const state = (url: URL) => url.searchParams.get('state')!;
  known = [sealed, provider.issuer, state(pending), state(elsewhere), 'r.made-up'];
});
afterEach(() => browser.close());
afterAll(async () => {
  output.restore();
  expect(output.lines).toEqual([]);
  await apps.query.close();
  await apps.form_post.close();
  await provider.close();
});

/** Made-up codes are no secrets: they come back where they were sent as an `error_description`. */
function safe(answer: Answer, app: TestApp, only?: number[]): void {
  expectSafe(answer, { app, provider, except: ['code'], ...(only ? { only } : {}) });
}

const piece = fc.oneof(
  fc.nat(9).map((index) => encodeURIComponent(known[index % known.length]!)),
  fc.constantFrom(
    'r.',
    '1',
    '0',
    'true',
    'access_denied',
    'invalid_target',
    '//evil.example',
    '/ok',
    'x'.repeat(3000),
  ),
  fc.constantFrom(
    '%',
    '%zz',
    '%00',
    '%ff',
    '%c0%af',
    '%0d%0a',
    '%2f%2f',
    '\u00ff',
    '\u0080',
    '<',
    '"',
    "'",
    '{',
    '\\',
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 8 }).map((text) => encodeURIComponent(text)),
  fc.string({ unit: 'binary-ascii', maxLength: 8 }),
);
/** Without what Node's parser refuses before we see it. */
const printable = (text: string) => text.replace(/[^\u0021-\u007e]/g, '');
const value = fc.array(piece, { maxLength: 3 }).map((pieces) => printable(pieces.join('')));
const name = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      'state',
      'code',
      'iss',
      'error',
      'error_description',
      'returnTo',
      'request',
      'form_post',
      'response',
    ),
  },
  fc.constantFrom('state[]', 'code[a][b]', 'returnTo[]', '__proto__', 'constructor', 'toString', ''),
  value,
);
const query = fc
  .array(fc.tuple(name, value), { maxLength: 6 })
  .map((pairs) => pairs.map((pair) => pair.join('=')).join('&'));

const route = fc.constantFrom(
  '/login',
  '/callback',
  '/logout',
  '/callback/',
  '/LOGIN',
  '//callback',
  '/./logout',
);
const method = fc.constantFrom('GET', 'GET', 'GET', 'POST', 'POST', 'HEAD', 'PUT');
const header = fc.constantFrom(
  'Accept: text/html',
  'Accept: application/json',
  'Accept: */*',
  'Accept: ;;q=x,,',
  'Accept: image/png',
  'Sec-Fetch-Site: cross-site',
  'Sec-Fetch-Site: same-origin',
  'Sec-Fetch-Mode: navigate',
  'Sec-Fetch-Dest: iframe',
  'Sec-Purpose: prefetch',
  'Origin: null',
  'Referer: //evil.example',
  'Host: evil.example',
  'X-Forwarded-Host: evil.example',
  'Cookie: connect.sid=s%3Ajunk.junk',
  'Cookie: connect.sid=%ff; connect.sid=j:{}; =; ;',
  'Content-Type: application/json',
  'Content-Type: multipart/form-data; boundary=x',
  'Content-Type: application/x-www-form-urlencoded; charset=utf-7',
  'Content-Type: ;=/,',
);
const request = fc.record({
  mode: fc.constantFrom('query' as const, 'form_post' as const),
  method,
  route,
  query,
  headers: fc.uniqueArray(header, { maxLength: 4, selector: (line) => line.split(':')[0] }),
  body: fc.option(query, { nil: '' }),
  isOurs: fc.boolean(),
});

function bytes(given: typeof request extends fc.Arbitrary<infer T> ? T : never, app: TestApp): string {
  const ours = `connect.sid=${browser.cookies.get(app.url, 'connect.sid')}`;
  const head = [
    `${given.method} ${given.route}?${given.query} HTTP/1.1`,
    ...(given.headers.some((line) => line.startsWith('Host')) ? [] : ['Host: app.example']),
    ...given.headers,
    ...(given.isOurs && !given.headers.some((line) => line.startsWith('Cookie')) ? [`Cookie: ${ours}`] : []),
    ...(given.headers.some((line) => line.startsWith('Content-Type'))
      ? []
      : ['Content-Type: application/x-www-form-urlencoded']),
    `Content-Length: ${given.body.length}`,
    'Connection: close',
  ];
  return `${head.join('\r\n')}\r\n\r\n${given.body}`;
}

describe('any request', () => {
  test.each([
    ['of a browser with a login pending', async () => {}],
    ['of a browser that is signed in', async () => void (await browser.login(apps.query))],
  ])('%s', async (_name, prepare) => {
    await prepare();
    await fc.assert(
      fc.asyncProperty(request, async (given) => {
        const app = apps[given.mode];
        const answer = await sendRaw(app, bytes(given, app));
        expect(answer.status).toBeGreaterThanOrEqual(200);
        expect(answer.status).toBeLessThan(500);
        // What no route of ours takes is Express's to answer: its 404 has a page of its own.
        if (answer.status === 404) return;
        safe(answer, app);
      }),
      { numRuns: runs(400) },
    );
    await surfaceRejections();
    for (const app of Object.values(apps)) {
      expect(app.logs.filter(({ level }) => level === 'error')).toEqual([]);
      const fresh = new Browser({ account: 'alice' });
      await fresh.login(app);
      expect(await whoIs(fresh, app)).toBe('signed in as alice');
      fresh.close();
    }
  });
});

describe('an answer of the provider, changed a little', () => {
  const change = fc.oneof(
    { weight: 6, arbitrary: fc.constant('keep' as const) },
    fc.constantFrom('drop' as const, 'double' as const),
    value,
  );
  const changes = fc.record({ state: change, code: change, iss: change, error: value, extra: query });

  function altered(params: URLSearchParams, changed: Record<string, string>): string {
    const pairs = ['state', 'code', 'iss'].flatMap((key) => {
      const pair = `${key}=${encodeURIComponent(params.get(key) ?? '')}`;
      if (changed[key] === 'keep') return [pair];
      if (changed[key] === 'drop') return [];
      return changed[key] === 'double' ? [pair, pair] : [`${key}=${changed[key]}`];
    });
    const error = changed.error === '' ? [] : [`error=${changed.error}`];
    return [...pairs, ...error, changed.extra].join('&');
  }

  /** An error without a value is none (RFC 6749 §3.1). */
  function isSameAnswer(sent: URLSearchParams, params: URLSearchParams): boolean {
    return (
      ['state', 'code', 'iss'].every((key) => String(sent.getAll(key)) === params.get(key)) &&
      sent.getAll('error').join('&') === ''
    );
  }

  test.each(['query', 'form_post'] as const)('%s', async (mode) => {
    const app = apps[mode];
    await fc.assert(
      fc.asyncProperty(changes, fc.boolean(), async (changed, carriesCookie) => {
        const fresh = new Browser({ account: 'alice' });
        const page = await fresh.login(app, '/', { stopAt: (url) => url.pathname === '/callback' });
        const params = new URLSearchParams(page.held?.body ?? new URL(page.url).search);
        const text = altered(params, changed);
        const url = new URL(`${app.url}/callback${mode === 'query' ? `?${text}` : ''}`);
        const init = mode === 'query' ? {} : { method: 'POST', headers: FORM, body: text };
        const sender = carriesCookie ? fresh : new Browser();
        const answer = await sender.request(url.href, init);
        safe(answer, app, [302, 303, 400]);
        expect(JSON.stringify([answer.text, answer.headers, app.logText()])).not.toContain(
          params.get('code'),
        );
        const sent = mode === 'query' ? url.searchParams : new URLSearchParams(text);
        const who = await whoIs(fresh, app);
        // Parameters that are added may be harmless or not; those of the protocol must mean what they meant.
        if (!carriesCookie || !isSameAnswer(sent, params)) expect(who).toBe('anonymous');
        else if (changed.extra === '') expect(who).toBe('signed in as alice');
        for (const one of [fresh, sender]) one.close();
      }),
      {
        numRuns: runs(60),
        examples: ['', '&', '#'].map((error) => [{ ...KEPT, error, extra: '' }, true] as never),
      },
    );
    await surfaceRejections();
  });
});

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const KEPT = { state: 'keep', code: 'keep', iss: 'keep', error: '' };

describe('a form that is none', () => {
  const post = (headers: string[], body: string, length = body.length) =>
    sendRaw(
      apps.form_post,
      [
        'POST /callback HTTP/1.1',
        'Host: app.example',
        ...headers,
        `Content-Length: ${length}`,
        'Connection: close',
        '',
        body,
      ].join('\r\n'),
    );

  test.each<[string, string[], string]>([
    ['too large', ['Content-Type: application/x-www-form-urlencoded'], `state=x&pad=${'x'.repeat(200_000)}`],
    ['JSON', ['Content-Type: application/json'], '{"state":"x"}'],
    ['multipart', ['Content-Type: multipart/form-data; boundary=b'], '--b\r\n\r\nx\r\n--b--'],
    ['of no kind', [], 'state=x'],
    ['empty', ['Content-Type: application/x-www-form-urlencoded'], ''],
    ['without state', ['Content-Type: application/x-www-form-urlencoded'], 'code=x'],
    ['text', ['Content-Type: text/plain'], 'state=x'],
  ])('%s: refused by a page', async (_name, headers, body) => {
    const answer = await post([...headers, 'Accept: text/html'], body);
    safe(answer, apps.form_post, [400]);
    expect(answer.text).toContain('Sign in again');
  });

  test('a form where the query is expected', async () => {
    const answer = await browser.request(`${apps.query.url}/callback`, {
      method: 'POST',
      body: { state: 'x' },
    });
    safe(answer, apps.query, [400]);
  });
});

test('a query as long as Node takes it', async () => {
  for (const start of [
    '/login?returnTo=/',
    '/login?request=',
    '/callback?state=',
    '/callback?code=c&error=',
    '/logout?',
  ]) {
    const answer = await browser.request(apps.query.url + start + 'x'.repeat(15_000));
    safe(answer, apps.query);
    expect(answer.status).toBeLessThan(500);
  }
});
