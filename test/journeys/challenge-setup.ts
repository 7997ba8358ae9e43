import { afterEach, expect } from '@jest/globals';
import { type AppOptions, startApp, type TestApp } from '../support/app.ts';
import { type Answer, Browser, type Page, type PendingRequest } from '../support/browser.ts';
import { type ProviderOptions, startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime } from '../support/time.ts';

/** What the login asks for when nobody says otherwise, and the scopes `a` and `b`. */
export const LOGIN_AB = 'openid profile email offline_access a b';

export interface Journey {
  provider: TestProvider;
  app: TestApp;
  browser: Browser;
}

export interface JourneyOptions {
  provider?: ProviderOptions;
  app?: Omit<AppOptions, 'provider'>;
  /** Whether the browser signs in first; default true. */
  signedIn?: boolean;
}

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close();
  restoreTime();
});

/** Closed after the test. */
export function closing<T extends { close(): unknown }>(thing: T): T {
  opened.push(thing);
  return thing;
}

/** A provider, an app and a browser that alice is signed in with; nothing of that is in the recordings. */
export async function start({ signedIn = true, ...options }: JourneyOptions = {}): Promise<Journey> {
  const provider = closing(await startProvider(options.provider));
  const app = closing(await startApp({ provider, ...options.app }));
  const browser = closing(new Browser());
  if (signedIn) expect((await browser.login(app)).text).toBe('signed in as alice');
  return { provider, app, browser };
}

/** A page navigation that stops in front of the provider; `held` is the authorization request. */
export async function leave(
  { provider, browser }: Journey,
  url: string,
): Promise<Page & { held: PendingRequest }> {
  const page = await browser.navigate(url, { stopAt: (next) => next.origin === provider.issuer });
  if (page.held === undefined) throw new Error(`${page.status} at ${page.url}: ${page.text}`);
  return { ...page, held: page.held };
}

/** The parameters of an authorization request. */
export function asked({ held }: { held: PendingRequest }): URLSearchParams {
  return new URL(held.url).searchParams;
}

export function words(text: string | null): string[] {
  return (text ?? '').split(' ').sort();
}

/** The request of a page, without following what it says. */
export function open(
  { browser, app }: Pick<Journey, 'browser' | 'app'>,
  path: string,
  method = 'GET',
): Promise<Answer> {
  const headers = { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  return browser.request(app.url + path, { method, headers });
}

/** The request of a script. */
export async function fetchJson(
  { browser, app }: Pick<Journey, 'browser' | 'app'>,
  path: string,
  referer?: string,
): Promise<Answer & { json: Record<string, unknown> }> {
  const answer = await browser.fetchJson(app.url + path, referer === undefined ? {} : { referer });
  return { ...answer, json: answer.json as Record<string, unknown> };
}

/** The refresh token that alice got at her login. */
export function loginRefreshToken(provider: TestProvider): string {
  const login = provider.tokenCalls.find(({ params }) => params.grant_type === 'authorization_code');
  return String(login?.answer?.refresh_token);
}

/** The provider forgets a refresh token. */
export async function forget(provider: TestProvider, refreshToken: string): Promise<void> {
  await (await provider.oidc.RefreshToken.find(refreshToken))?.destroy();
}
