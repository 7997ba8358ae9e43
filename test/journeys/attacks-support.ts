import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect } from '@jest/globals';
import { startApp, type TestApp } from '../support/app.ts';
import type { Answer, Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import type { SignOptions, TestProvider } from '../support/provider.ts';

/** The attacker's site: nothing may ever be sent there, and no user either. */
export const EVIL = 'http://evil.example';

const STACK = /\n\s+at |\bnode_modules\b|\bnode:internal\b|\.ts:\d|&nbsp; ?at /;

/**
 * An answer that may be shown to anybody: a page of ours without scripts, JSON, text of the app, or a redirect to the
 * app itself or to the provider; no stack trace and no secret in it or in the log. `only` are the statuses expected.
 */
export function expectSafe(
  answer: Pick<Answer, 'status' | 'headers' | 'text'>,
  { app, provider, only }: { app: TestApp; provider: TestProvider; only?: number[] },
): void {
  const { status, headers, text } = answer;
  if (only) expect(only).toContain(status);
  expect(text).not.toMatch(STACK);
  expect(app.logText()).not.toMatch(/SyntaxError|TypeError|Cannot read/);
  if (/text\/html/.test(headers['content-type'] ?? '') && status >= 300) {
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'/);
    expect(headers['cache-control']).toBe('no-store');
    expect(text).not.toMatch(/<script|<[^>]*(javascript:|\son\w+=)/i);
  }
  if (/json/.test(headers['content-type'] ?? '')) JSON.parse(text);
  const { location } = headers;
  if (location !== undefined) {
    expect([new URL(app.url).origin, new URL(provider.issuer).origin]).toContain(
      new URL(location, app.url).origin,
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this looks for
    expect(location).not.toMatch(/^[/\\]{2}|[\u0000-\u0020\u007f-\uffff]/);
  }
  // The session cookie is a secret of the browser's own; the ID token is a hint in the provider's logout URL.
  const { 'set-cookie': _cookie, ...others } = headers;
  const isLogout = location?.startsWith(`${provider.issuer}/session/end`) ?? false;
  expectNoSecrets([text, others], provider, { except: isLogout ? ['id_token'] : [] });
  expectNoSecrets(app.logText(), provider);
}

/** The next token answer carries this ID token instead of its own; `nonce` is that of the login. */
export function forgeIdToken(provider: TestProvider, forge: (nonce: string) => unknown): void {
  provider.script(async () => {
    const id_token = await forge(String(provider.authorizations.at(-1)?.nonce));
    return { mutate: (json) => ({ ...json, id_token }) };
  });
}

/** An ID token of this login, right but for the claims given. */
export function sign(
  provider: TestProvider,
  claims: Record<string, unknown>,
  options: SignOptions = {},
): (nonce: string) => Promise<string> {
  return (nonce) =>
    provider.signIdToken({ nonce, auth_time: Math.floor(Date.now() / 1000), ...claims }, options);
}

/** Starts a login and stops before its callback: the URL the browser would open next. */
export async function heldCallback(browser: Browser, app: TestApp, returnTo = '/'): Promise<URL> {
  const page = await browser.login(app, returnTo, { stopAt: (url) => url.pathname.endsWith('/callback') });
  if (!page.held) throw new Error(`${page.status} at ${page.url}: ${page.text}`);
  return new URL(page.url);
}

export async function whoIs(browser: Browser, app: TestApp): Promise<string> {
  return (await browser.request(app.url)).text;
}

export interface RecordedApp {
  app: TestApp;
  /** Where the app sent something, and whether `fetch` was to follow redirects. */
  sent: { url: string; redirect: string | undefined }[];
  /** Answers instead of the provider's, by the end of the URL. */
  answers: Record<string, () => Promise<Response>>;
}

/** An app whose every request to the provider is recorded and can be answered otherwise; `/userinfo` asks for that. */
export async function startRecordedApp(provider: TestProvider): Promise<RecordedApp> {
  const sent: RecordedApp['sent'] = [];
  const stage: Omit<RecordedApp, 'app'> = { sent, answers: {} };
  const app = await startApp({
    provider,
    auth: {
      grantTimeoutMs: 400,
      fetch: (url, init) => {
        sent.push({ url, redirect: init.redirect });
        const answer = Object.entries(stage.answers).find(([end]) => url.endsWith(end))?.[1];
        return answer === undefined ? fetch(url, init) : answer();
      },
    },
    routes: (site) => {
      site.get('/userinfo', (req, res) => {
        req.oidc.fetchUserInfo().then(
          (claims) => res.json(claims),
          (error: Error) => res.json({ failed: error.name }),
        );
      });
    },
  });
  return Object.assign(stage, { app });
}

/** A server on loopback with a handler of the test's. */
export async function listen(
  handler: (req: IncomingMessage, res: ServerResponse) => void,
): Promise<{ url: string; close: () => void }> {
  const server: Server = createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Sends exactly these bytes, with `Connection: close` among them, and reads the answer to its end. */
export async function sendRaw(app: TestApp, request: string): Promise<Answer> {
  const { hostname, port } = new URL(app.url);
  const socket = connect(Number(port), hostname);
  // Not `end`: Node's server answers nobody who has closed their half.
  socket.write(Buffer.from(request, 'latin1'));
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  const [head = '', ...body] = Buffer.concat(chunks).toString('latin1').split('\r\n\r\n');
  const [first = '', ...lines] = head.split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  );
  return { status: Number(first.split(' ')[1]), headers, text: body.join('\r\n\r\n'), url: app.url };
}
