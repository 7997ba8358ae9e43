import { expect } from '@jest/globals';
import { MemoryStore, type Store } from 'express-session';
import { type AppOptions, startApp, type TestApp } from '../support/app.ts';
import { Browser, type BrowserOptions, type Page } from '../support/browser.ts';
import { type ProviderOptions, startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';

const opened: { close(): unknown }[] = [];

export function closing<T extends { close(): unknown }>(thing: T): T {
  opened.push(thing);
  return thing;
}

/** For `afterEach`: closes what the test opened, the last first, and gives the real time back. */
export async function closeAll(): Promise<void> {
  restoreTime();
  for (const thing of opened.splice(0).reverse()) await thing.close();
}

export async function openProvider(options?: ProviderOptions): Promise<TestProvider> {
  return closing(await startProvider(options));
}

export async function openApp(provider: TestProvider, options: AppOptions = {}): Promise<TestApp> {
  return closing(await startApp({ provider, ...options }));
}

export function openBrowser(options?: BrowserOptions): Browser {
  return closing(new Browser(options));
}

/** A second tab with its own copy of the cookies. */
export function openClone(browser: Browser): Browser {
  return closing(browser.clone());
}

/** A browser that is signed in. */
export async function signedIn(app: TestApp, options?: BrowserOptions): Promise<Browser> {
  const browser = openBrowser(options);
  await browser.login(app);
  expect(await whoIs(browser, app)).toMatch(/^signed in as /);
  return browser;
}

export async function whoIs(browser: Browser, app: { url: string }): Promise<string> {
  return (await browser.request(`${app.url}/`)).text;
}

/** What `getTokenSilent` gave or, as JSON, why it did not. */
export interface SilentAnswer {
  accessToken?: string;
  source?: string;
  scopes?: string[];
  expiresAt?: number;
  stale?: true;
  name?: string;
  code?: string;
  status?: number;
  reason?: string;
}

export async function silent(browser: Browser, app: { url: string }, query = ''): Promise<SilentAnswer> {
  return JSON.parse((await browser.request(`${app.url}/silent?${query}`)).text);
}

/** After the next expiry a token still comes without the user, by a refresh. */
export async function expectAlive(browser: Browser, app: { url: string }, lifetime = 3600): Promise<void> {
  travel(lifetime + 1);
  expect(await silent(browser, app)).toMatchObject({
    accessToken: expect.any(String),
    source: 'provider',
  });
}

export const COOKIE = 'connect.sid';

/** The id in the signed session cookie. */
export function sessionId(browser: Browser, app: { url: string }): string | undefined {
  const value = browser.cookies.get(app.url, COOKIE);
  return value && /^s:([^.]+)\./.exec(decodeURIComponent(value))?.[1];
}

/** Gives a browser the session cookie that it, or another one, has at another app over the same store. */
export function copySession(
  from: { browser: Browser; app: { url: string } },
  to: { browser: Browser; app: { url: string } },
): void {
  to.browser.cookies.set(to.app.url, COOKIE, from.browser.cookies.get(from.app.url, COOKIE) ?? '');
}

type Fields = Record<string, unknown>;

/** The records of a MemoryStore, by their ids. */
export function records(store: Store): Map<string, Fields> {
  if (!(store instanceof MemoryStore)) throw new TypeError('this looks into a MemoryStore only');
  const { sessions } = store as unknown as { sessions: Record<string, string> };
  return new Map(Object.entries(sessions).map(([id, text]) => [id, JSON.parse(text) as Fields]));
}

export function putRecord(store: Store, id: string, record: Fields): void {
  putText(store, id, JSON.stringify(record));
}

export function putText(store: Store, id: string, text: string): void {
  (store as unknown as { sessions: Record<string, string> }).sessions[id] = text;
}

/** The token caches that can still be read, by the ids of their records. */
export function tokenCaches(store: Store): Map<string, Fields & { payload: string; version: number }> {
  const caches = [...records(store)].filter(([id, { payload }]) => /^oidc\.\w{64}$/.test(id) && payload);
  return new Map(caches) as Map<string, Fields & { payload: string; version: number }>;
}

/** Everything that a MemoryStore holds as text, the parts of envelopes decoded too. */
export function storeText(store: Store): string {
  const text = JSON.stringify([...records(store)]);
  const parts = text.match(/[\w-]{40,}/g) ?? [];
  return [text, ...parts.map((part) => Buffer.from(part, 'base64url').toString('latin1'))].join('\n');
}

/** Where a navigation left for the provider, if it did. */
export function providerHop(page: Page, provider: TestProvider): URL | undefined {
  const hop = page.hops.find(({ url }) => url.startsWith(`${provider.issuer}/auth?`));
  return hop && new URL(hop.url);
}

/** For `stopAt`: the way back from the provider, held before it reaches the app. */
export function atCallback(url: URL): boolean {
  return url.pathname === '/callback';
}

/** The refresh token of the newest answer. */
export function newestRefreshToken(provider: TestProvider): string {
  const answers = provider.tokenCalls.map(({ answer }) => answer?.refresh_token);
  return answers.findLast((token) => typeof token === 'string') as string;
}

/** Waits for something that no event reports. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
  }, 5000);
  try {
    while (!(await condition())) {
      if (isLate) throw new Error(`this did not happen: ${condition}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  } finally {
    clearTimeout(timer);
  }
}

/** An answer of the provider that is held back after the provider has acted. */
export function heldAnswer(provider: TestProvider): { release: () => void; arrived: Promise<unknown> } {
  let release: () => void = () => {};
  const waitAfter = new Promise<void>((resolve) => {
    release = resolve;
  });
  provider.clearCalls();
  provider.script({ waitAfter });
  return { release, arrived: provider.whenTokenCalls(1) };
}

/** Ends the session locally, as fast as a script can: the way to the provider's own logout is not followed. */
export async function logOut(browser: Browser, app: { url: string }): Promise<void> {
  expect(await browser.request(`${app.url}/logout`, { method: 'POST' })).toMatchObject({ status: 303 });
}

/** Nothing of the session answers any more: not by this cookie, not by what lies in the store. */
export async function expectEnded(browser: Browser, app: TestApp): Promise<void> {
  const handles = [...records(app.store).values()].filter((record) => record.oidc !== undefined);
  expect({ handles, caches: [...tokenCaches(app.store)] }).toEqual({ handles: [], caches: [] });
  expect(await whoIs(browser, app)).toBe('anonymous');
  expect(await silent(browser, app)).toMatchObject({ reason: 'signed_out' });
}
