import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type Answer, Browser } from '../support/browser.ts';
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import {
  type Fleet,
  type FleetOptions,
  type FleetStore,
  removeBundle,
  startFleet,
} from '../support/fleet.ts';
import { type StoreWatch, watchFiles, watchRedis } from '../support/fleet-watch.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { type ProviderOptions, startProvider, type TestProvider } from '../support/provider.ts';
import { redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';
import { restoreTime } from '../support/time.ts';

/** For cases that need a real Redis; a CI without one fails. */
export const redisTest = redisAvailable() ? test : test.skip;
export const redisDescribe = redisAvailable() ? describe : describe.skip;

/** Of access tokens, unless a case says otherwise; below the hour that session-file-store keeps a session. */
const LIFETIME = 600;

/** The package's own: a lease, which its holder's heartbeat renews. */
export const LEASE_MS = 3000;

/** Outer deadlines, for a machine that does other things too. */
const PATIENCE_MS = 30_000;
jest.setTimeout(2 * PATIENCE_MS);

const opened: { close(): unknown }[] = [];

/** Closes it after the test, the last first. */
export function closing<T extends { close(): unknown }>(thing: T): T {
  opened.push(thing);
  return thing;
}

async function closeAll(things: { close(): unknown }[]): Promise<void> {
  for (const thing of things.splice(0).reverse()) await thing.close();
}

afterEach(() => closeAll(opened));
afterAll(removeBundle);

/** One scene for all tests around it, where its processes live through them; every test has users of its own. */
export function sharedScene<S extends Scene>(open: () => Promise<S>): { scene: S } {
  const holder = {} as { scene: S };
  const kept: { close(): unknown }[] = [];
  beforeAll(async () => {
    try {
      holder.scene = await open();
    } finally {
      kept.push(...opened.splice(0));
    }
  });
  afterAll(async () => {
    try {
      await holder.scene?.expectSound();
    } finally {
      await closeAll(kept);
    }
  });
  return holder;
}

/** A provider, an app of several processes, and what every case asserts at its end. */
export class Scene {
  readonly provider: TestProvider;
  readonly fleet: Fleet;
  readonly watch: StoreWatch;
  /** Processes that the test itself killed. */
  killed = 0;

  constructor(provider: TestProvider, fleet: Fleet, watch: StoreWatch) {
    this.provider = provider;
    this.fleet = fleet;
    this.watch = watch;
  }

  /** A browser that signed in at process 0 and whose cookie is good at all of them. */
  async signedIn(account = 'alice'): Promise<Browser> {
    const browser = closing(new Browser({ account }));
    const page = await browser.login(this.fleet);
    if (page.status !== 200) throw new Error(`${page.status} ${page.text}\n${this.fleet.output}`);
    expect(JSON.parse(page.text)).toMatchObject({ subject: account });
    this.fleet.share(browser);
    return browser;
  }

  /** A browser of its own, closed at the end. */
  browser(account = 'alice'): Browser {
    return closing(new Browser({ account }));
  }

  /** Of this user's token cache. */
  version(browser: Browser): Promise<number> {
    const cookie = decodeURIComponent(browser.cookies.get(this.fleet.url, 'connect.sid') ?? '');
    return this.watch.version(/^s:([^.]+)\./.exec(cookie)?.[1] ?? '');
  }

  token(browser: Browser, process: number, query = ''): Promise<TokenResponse> {
    return tokenAt(browser, `${this.fleet.process(process).url}/token?${query}`);
  }

  /** So many requests to each of these processes at once. */
  burst(
    browser: Browser,
    count: number,
    { processes = this.fleet.processes.map(({ index }) => index), query }: BurstOptions = {},
  ): Promise<TokenResponse[]> {
    const requests = processes.flatMap((process) =>
      Array.from({ length: count }, (_, n) => this.token(browser, process, query?.(n))),
    );
    return Promise.all(requests);
  }

  /** Which process sent a request to the provider. */
  senderOf(call: { headers: Record<string, unknown> } | undefined): number {
    return Number(call?.headers['x-process']);
  }

  async expire(): Promise<void> {
    await this.fleet.travel(LIFETIME + 1);
  }

  /** In the place of those that a test killed. */
  async replaceKilled(): Promise<void> {
    const gone = this.fleet.processes.filter(({ isRunning }) => !isRunning);
    await Promise.all(gone.map(({ index }) => this.fleet.replace(index)));
  }

  /** After the next expiry the session still gets a token at every process that runs, with one grant in all. */
  async expectAlive(browser: Browser): Promise<void> {
    await this.expire();
    const before = this.provider.refreshCalls.length;
    const processes = this.fleet.processes.filter(({ isRunning }) => isRunning).map(({ index }) => index);
    expectOneToken(await this.burst(browser, 2, { processes }));
    expect(this.provider.refreshCalls).toHaveLength(before + 1);
  }

  /**
   * What holds whatever happened: versions never fall, no lease outlives twice its time, no token is in any output,
   * and every process ends by itself, with the exception of those that the test killed.
   */
  async expectSound(): Promise<void> {
    const until = performance.now() + 2 * LEASE_MS;
    while ((await this.watch.leases()) > 0) {
      expect(performance.now()).toBeLessThan(until);
      await delay(50);
    }
    expect(await this.watch.falls()).toEqual([]);
    const ends = await this.fleet.close();
    expect(ends.filter((end) => end !== 'code 0')).toEqual(Array(this.killed).fill('SIGKILL'));
    expect(this.fleet.output).not.toMatch(/unhandled|uncaught/i);
    expectNoSecrets(this.fleet.output, this.provider);
  }
}

interface BurstOptions {
  /** Default: all. */
  processes?: number[];
  query?: (n: number) => string;
}

export type SceneOptions = Partial<Omit<FleetOptions, 'provider' | 'store'>> & { provider?: ProviderOptions };

/** Deadlines for a busy machine, not the package's own. */
export const PATIENT = { storeReadTimeoutMs: 5000, storeWriteTimeoutMs: 10_000 };

/** A scene over a store that is there, and ends after it. */
export async function openScene(
  store: FleetStore,
  openWatch: () => Promise<StoreWatch>,
  { provider: settings, auth, processes }: SceneOptions,
): Promise<Scene> {
  closing({ close: restoreTime });
  const provider = closing(await startProvider({ accessTokenTtl: LIFETIME, ...settings }));
  const watch = closing(await openWatch());
  return new Scene(provider, closing(await startFleet({ provider, store, processes, auth })), watch);
}

export type RedisScene = Scene & { redis: TestRedis /** Between the app and Redis. */; proxy: FaultProxy };

interface RedisSceneOptions extends SceneOptions {
  /** Lets the app reach Redis through `proxy` only. */
  isProxied?: boolean;
  /** The deadlines of the package, and those it asks the app's client to have; else long ones, for a busy machine. */
  hasUsualDeadlines?: boolean;
}

export async function redisScene(options: RedisSceneOptions = {}): Promise<RedisScene> {
  const { auth, isProxied, hasUsualDeadlines } = options;
  const redis = closing(await startRedis());
  const proxy = closing(await startFaultProxy(redis.port));
  const url = isProxied ? `redis://127.0.0.1:${proxy.port}` : redis.url;
  const store = { kind: 'redis' as const, url, timeoutMs: hasUsualDeadlines ? 500 : 5000 };
  const scene = await openScene(store, () => watchRedis(redis), {
    ...options,
    auth: hasUsualDeadlines ? auth : { ...PATIENT, ...auth },
  });
  return Object.assign(scene, { redis, proxy });
}

/** Sessions in files, every operation 0 to `latencyMs` late. */
export async function fileScene(options: SceneOptions = {}): Promise<Scene> {
  const path = await mkdtemp(join(tmpdir(), 'sessions-'));
  closing({ close: () => rm(path, { recursive: true, force: true }) });
  const store = { kind: 'files' as const, path, latencyMs: 30 };
  const auth = { ...PATIENT, ...options.auth };
  return openScene(store, () => watchFiles(path), { ...options, auth });
}

/** An app's answer to a request for a token. */
export interface TokenResponse {
  /** 0 where the connection broke; `error` says how. */
  status: number;
  headers: Answer['headers'];
  json: { accessToken?: string; source?: string; error?: string };
  tookMs: number;
}

export async function tokenAt(browser: Browser, url: string): Promise<TokenResponse> {
  const startedAt = performance.now();
  const took = () => Math.round(performance.now() - startedAt);
  try {
    const { status, headers, json } = await browser.fetchJson(url);
    return { status, headers, json: (json ?? {}) as TokenResponse['json'], tookMs: took() };
  } catch (error) {
    return { status: 0, headers: {}, json: { error: String(error) }, tookMs: took() };
  }
}

export function statuses(answers: TokenResponse[]): number[] {
  return [...new Set(answers.map(({ status }) => status))].sort((a, b) => a - b);
}

/** All were answered, with the same access token. */
export function expectOneToken(answers: TokenResponse[]): string {
  expect(statuses(answers)).toEqual([200]);
  const tokens = [...new Set(answers.map(({ json }) => json.accessToken))];
  expect(tokens).toEqual([expect.any(String)]);
  return tokens[0] as string;
}

/** A promise, and the way to keep it. */
export function barrier(): { passed: Promise<void>; open: () => void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

/** Waits for what no event reports. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
  }, PATIENCE_MS);
  while (!(await condition())) {
    if (isLate) throw new Error(`this did not come true: ${condition}`);
    await delay(10);
  }
  clearTimeout(timer);
}
