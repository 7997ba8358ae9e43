import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AuthOptions } from 'express-oidc-tokens';
import type { Browser } from './browser.ts';
import type { FleetStore } from './fleet-app.ts';
import { FleetProcess } from './fleet-process.ts';
import type { TestProvider } from './provider.ts';
import { travel } from './time.ts';

export type { FleetStore };

export interface FleetOptions {
  provider: TestProvider;
  store: FleetStore;
  /** Default 4. */
  processes?: number;
  /** Anything that is JSON. */
  auth?: Partial<AuthOptions>;
}

const COOKIE = 'connect.sid';
const root = fileURLToPath(new URL('../..', import.meta.url));
let bundleFolder: string | undefined;

/** The app in one file: a process starts from it eight times as fast as from the sources. */
function bundle(): string {
  if (bundleFolder === undefined) {
    bundleFolder = mkdtempSync(join(tmpdir(), 'fleet-'));
    const args = ['--bundle', '--platform=node', '--format=cjs', '--log-level=warning'];
    const built = spawnSync(
      join(root, 'node_modules/.bin/esbuild'),
      ['test/support/fleet-app.ts', `--outfile=${join(bundleFolder, 'app.cjs')}`, ...args],
      { cwd: root, encoding: 'utf8' },
    );
    if (built.status !== 0) throw new Error(`the fleet's app could not be built: ${built.stderr}`);
  }
  return join(bundleFolder, 'app.cjs');
}

/** For `afterAll`. */
export function removeBundle(): void {
  if (bundleFolder !== undefined) rmSync(bundleFolder, { recursive: true });
  bundleFolder = undefined;
}

/** Several real processes of one app, over one store, known to the provider by the URL of the first. */
export class Fleet {
  readonly processes: FleetProcess[] = [];
  readonly #options: FleetOptions;
  readonly #gone: FleetProcess[] = [];
  #travelled = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** Of process 0: the app's base URL. */
  get url(): string {
    return this.process(0).url;
  }

  process(index: number): FleetProcess {
    const found = this.processes[index];
    if (found === undefined) throw new Error(`there is no process ${index}`);
    return found;
  }

  /** All but these. */
  others(...indexes: number[]): FleetProcess[] {
    return this.processes.filter(({ index }) => !indexes.includes(index));
  }

  async start(): Promise<void> {
    const count = this.#options.processes ?? 4;
    const booted = await Promise.all(
      Array.from({ length: count }, (_, index) => FleetProcess.boot(bundle(), index)),
    );
    this.processes.push(...booted);
    await Promise.all(booted.map((process) => this.#start(process)));
  }

  /** Puts a new process in the place of one that ended, on its port. */
  async replace(index: number): Promise<FleetProcess> {
    const earlier = this.process(index);
    await earlier.exited;
    const process = await FleetProcess.boot(bundle(), index, earlier.port);
    this.#gone.push(earlier);
    this.processes[index] = process;
    await this.#start(process);
    return process;
  }

  /** Moves the clocks of this process, with the provider in it, and of all the others. */
  async travel(seconds: number): Promise<void> {
    this.#travelled += seconds;
    travel(seconds);
    await Promise.all(this.processes.filter(({ isRunning }) => isRunning).map((one) => one.travel(seconds)));
  }

  /** Gives a browser the session cookie that it has at one process for all of them, as a load balancer would. */
  share(browser: Browser, from = 0): void {
    const value = browser.cookies.get(this.process(from).url, COOKIE) ?? '';
    for (const { url } of this.processes) browser.cookies.set(url, COOKIE, value);
  }

  /** Everything that the processes ever wrote. */
  get output(): string {
    return [...this.#gone, ...this.processes].map(({ output }) => output).join('\n');
  }

  /** Events of all processes by their name. */
  events(name: string): { process: number; details: unknown }[] {
    return [...this.#gone, ...this.processes].flatMap((process) =>
      process.events(name).map((details) => ({ process: process.index, details })),
    );
  }

  /** SIGTERM to all that still run; what each one ended with, those that were killed earlier included. */
  async close(): Promise<string[]> {
    const ends = this.processes.map((process) => process.end());
    const earlier = this.#gone.map((process) => process.exited);
    return Promise.all([...earlier, ...ends]);
  }

  async #start(process: FleetProcess): Promise<void> {
    const { provider, store, auth } = this.#options;
    if (this.#travelled > 0) await process.travel(this.#travelled);
    await process.start({
      index: process.index,
      store,
      auth: {
        issuer: provider.issuer,
        ...provider.client,
        baseUrl: this.url,
        scopes: 'openid profile offline_access a b c',
        encryptionKeys: [{ kid: 'fleet', key: Buffer.alloc(32, 7).toString('base64') }],
        ...auth,
      },
    });
  }
}

/** Starts a fleet; close it at the end. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const fleet = new Fleet(options);
  try {
    await fleet.start();
  } catch (error) {
    await fleet.close();
    throw error;
  }
  return fleet;
}
