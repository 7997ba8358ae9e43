import { randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { afterAll, afterEach, beforeAll, expect } from '@jest/globals';
import type { AuthOptions, TokenRequestInput, TokenResult } from 'express-oidc-tokens';
import { MemoryStore, type SessionOptions, type Store } from 'express-session';
import { type AppOptions, startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';

/** Seconds that the provider's access tokens live, unless a test says otherwise. */
const LIFETIME = 3600;

/** Moves the clock of a sign-in that just happened to where its access token is … */
export const intoSoftLeeway = () => travel(LIFETIME - 150);
/** … still good for half a minute, but not to be served without asking the provider. */
export const intoHardLeeway = () => travel(LIFETIME - 30);
export const pastExpiry = () => travel(LIFETIME + 1);

/** The result, the challenge's JSON or nothing, together with the head of the answer. */
export type Reply = Partial<TokenResult> & {
  status: number;
  headers: IncomingHttpHeaders;
  loginUrl?: string;
};

/** What `req.getTokenSilent()` rejected with. */
export interface Refusal {
  name: string;
  code: string;
  status: number;
  reason?: string;
  scopes?: string[];
  claims?: string;
  retryAfter?: number;
}

/** Someone who is signed in to an app of their own. */
export interface User {
  app: TestApp;
  browser: Browser;
  store: AnnouncingStore;
  /** The tokens of the sign-in. */
  first: { accessToken: string; refreshToken: string };
  /** A script's `fetch()` of a route that does nothing but `req.getToken(request)`. */
  getToken(request?: TokenRequestInput): Promise<Reply>;
  /** The error of `req.getTokenSilent(request)`; undefined when it gave a token. */
  refusal(request?: TokenRequestInput): Promise<Refusal | undefined>;
  /** Resolves when the store has next written, or read, a token cache. */
  whenCommitted(): Promise<void>;
  whenRead(): Promise<void>;
  /** The address of the route behind `getToken`. */
  url(request?: TokenRequestInput): string;
}

export interface UserOptions {
  auth?: Partial<AuthOptions>;
  store?: Store;
  session?: Partial<SessionOptions>;
  /** Who signs in; default alice. */
  account?: string;
}

/** One provider for the tests of a file, and what each test opens on it. */
export class Stage {
  readonly #open: { close(): unknown }[] = [];
  #provider: TestProvider | undefined;
  #settings: Partial<TestProvider['settings']> = {};

  constructor() {
    beforeAll(async () => {
      this.#provider = await startProvider({ accessTokenTtl: LIFETIME });
      this.#settings = { ...this.#provider.settings };
    });
    afterEach(async () => {
      // Held answers are let go by the tests themselves; what is still scripted must not meet the next test.
      this.provider.scriptAlways(undefined);
      this.provider.down = {};
      for (const opened of this.#open.splice(0).reverse()) await opened.close();
      this.provider.clearCalls();
      this.provider.settings.denyScopes.clear();
      Object.assign(this.provider.settings, this.#settings);
      restoreTime();
    });
    afterAll(() => this.#provider?.close());
  }

  get provider(): TestProvider {
    if (!this.#provider) throw new Error('only inside a test');
    return this.#provider;
  }

  /** Closes it after the test. */
  opened<T extends { close(): unknown }>(what: T): T {
    this.#open.push(what);
    return what;
  }

  /** Starts an app and signs a user in. Recorded calls start from here. */
  async signIn(options: UserOptions = {}): Promise<User> {
    const store = announcing(options.store ?? new MemoryStore());
    const app = await this.#startApp({ ...options, store });
    return this.join({ app, store }, options.account);
  }

  /** Signs in with another browser at a running app. */
  async join({ app, store }: Pick<User, 'app' | 'store'>, account = 'alice'): Promise<User> {
    const browser = this.opened(new Browser({ account }));
    const page = await browser.login(app);
    if (page.status !== 200) throw new Error(`${page.status} at ${page.url}: ${page.text}`);
    const { access_token, refresh_token } = this.provider.tokenCalls.at(-1)?.answer ?? {};
    this.provider.clearCalls();
    const first = { accessToken: String(access_token), refreshToken: String(refresh_token) };
    const { nextCommit: whenCommitted, nextRead: whenRead } = store;
    return { ...this.#visit(app, browser), store, first, whenCommitted, whenRead };
  }

  #visit(app: TestApp, browser: Browser): Pick<User, 'app' | 'browser' | 'url' | 'getToken' | 'refusal'> {
    const address = (path: string, request?: TokenRequestInput): string => {
      const url = new URL(path, app.url);
      if (request !== undefined) url.searchParams.set('request', JSON.stringify(request));
      return url.href;
    };
    return {
      app,
      browser,
      url: (request) => address('/get-token', request),
      async getToken(request) {
        const { status, headers, json } = await browser.fetchJson(address('/get-token', request));
        return { ...(json as Partial<TokenResult>), status, headers };
      },
      async refusal(request) {
        const { json } = await browser.fetchJson(address('/refusal', request));
        return (json as Refusal | null) ?? undefined;
      },
    };
  }

  #startApp(options: UserOptions & { port?: number }): Promise<TestApp> {
    const auth = { scopes: 'openid profile email offline_access a b c x y z', ...options.auth };
    return startApp({ ...options, provider: this.provider, auth, routes }).then((app) => this.opened(app));
  }

  /** Expires everything and refreshes once more: the user still has a refresh token that works. */
  async expectAlive(user: User): Promise<void> {
    pastExpiry();
    const before = this.provider.tokenCalls.length;
    expect(await user.getToken('a')).toMatchObject({ status: 200, source: 'provider' });
    expect(this.provider.tokenCalls).toHaveLength(before + 1);
  }

  /** Ends a user's process and starts another one at the same address, on the same store unless it is given one. */
  async restart(user: User, options: UserOptions): Promise<User> {
    await user.app.close();
    this.#open.splice(this.#open.indexOf(user.app), 1);
    // Its kept-alive connections went with the process.
    user.browser.close();
    const port = Number(new URL(user.app.url).port);
    const app = await this.#startApp({ store: user.store, ...options, port });
    return { ...user, ...this.#visit(app, user.browser) };
  }
}

type AnnouncingStore = Store & { nextCommit(): Promise<void>; nextRead(): Promise<void> };

/** Tells when a token cache (a record of ours with a payload, or a missing one) has been written or read. */
function announcing(store: Store): AnnouncingStore {
  const writers: (() => void)[] = [];
  const readers: (() => void)[] = [];
  const { get, set } = store;
  // The caller of the store goes on first.
  const announce = (waiting: (() => void)[]) =>
    setImmediate(() => {
      for (const resolve of waiting.splice(0)) resolve();
    });
  store.set = (sid, record, done) =>
    set.call(store, sid, record, (error?: unknown) => {
      done?.(error);
      if (!error && sid.startsWith('oidc.') && 'payload' in record) announce(writers);
    });
  store.get = (sid, done) =>
    get.call(store, sid, (error: unknown, record) => {
      done(error, record);
      if (sid.startsWith('oidc.')) announce(readers);
    });
  const next = (waiting: (() => void)[]) => () => new Promise<void>((resolve) => waiting.push(resolve));
  return Object.assign(store, { nextCommit: next(writers), nextRead: next(readers) });
}

/** For apps that read what an earlier process stored. */
export const lastingKeys = () => ({ encryptionKeys: [{ kid: 'k1', key: randomBytes(32) }] });

const routes: NonNullable<AppOptions['routes']> = (app) => {
  const requestOf = (query: { request?: unknown }): TokenRequestInput | undefined =>
    typeof query.request === 'string' ? JSON.parse(query.request) : undefined;
  app.get('/get-token', async (req, res) => {
    res.json(await req.getToken(requestOf(req.query)));
  });
  app.get('/refusal', async (req, res) => {
    try {
      await req.getTokenSilent(requestOf(req.query));
      res.json(null);
    } catch (error) {
      const { name, code, status, reason, scopes, claims, retryAfter } = error as Refusal;
      res.json({ name, code, status, reason, scopes, claims, retryAfter });
    }
  });
};

/** A promise that the test resolves. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

export function times<T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => make(index)));
}
