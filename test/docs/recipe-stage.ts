import { EventEmitter, once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import vm from 'node:vm';
import { expect } from '@jest/globals';
import { Browser } from '../support/browser.ts';
import { collectConsole, expectNoSecrets } from '../support/leaks.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime } from '../support/time.ts';
import { codeBlocks, readText, sections } from './markdown.ts';

const recipes = sections(readText('docs/recipes.md'), 2);
const env = { ...process.env };
const opened: (() => unknown)[] = [];

/** Closes what the test has opened, the newest first. */
export async function closeAll(): Promise<void> {
  for (const close of opened.splice(0).reverse()) await close();
  restoreTime();
  process.env = { ...env };
}

export function closeLater(close: () => unknown): void {
  opened.push(close);
}

/** What a recipe finds: a provider, an API, a port to listen on, and timers that go off when the test says so. */
export interface RecipeStage {
  readonly url: string;
  readonly provider: TestProvider;
  /** `<method> <path> of <subject>, by <scopes>`, for each call of the API. */
  readonly apiCalls: readonly string[];
  whenApiCalls(count: number): Promise<void>;
  readonly timers: ReadonlySet<() => void>;
  tick(): void;
  /** Runs the code of a recipe as a module of its own, and gives what it declares under these names. */
  run<T>(title: string, names: readonly (keyof T & string)[], modules?: Record<string, object>): Promise<T>;
  signedIn(account: string, path: string): Promise<Browser>;
}

export async function openRecipeStage(): Promise<RecipeStage> {
  const provider = await startProvider({ scopes: ['orders.read', 'reports.write'] });
  const output = collectConsole();
  closeLater(async () => {
    await provider.close();
    output.restore();
    expectNoSecrets(output.text(), provider);
  });
  const port = await listening(createServer());
  const url = urlOf(port);
  Object.assign(process.env, {
    OIDC_ISSUER: provider.issuer,
    OIDC_CLIENT_ID: provider.client.clientId,
    OIDC_CLIENT_SECRET: provider.client.clientSecret,
    OIDC_BASE_URL: url,
    OIDC_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
  });
  const apiCalls: string[] = [];
  const called = new EventEmitter();
  const api = await listening(
    createApi(provider, (call) => {
      apiCalls.push(call);
      called.emit('call');
    }),
  );
  const timers = new Set<() => void>();
  const globals = {
    URL,
    fetch,
    console,
    process: { env: { ...process.env, SESSION_SECRET: 'secret', API: urlOf(api), PORT: port } },
    setInterval: (work: () => void) => {
      timers.add(work);
      return work;
    },
    clearInterval: (work: () => void) => timers.delete(work),
  };
  return {
    url,
    provider,
    apiCalls,
    async whenApiCalls(count) {
      while (apiCalls.length < count) await once(called, 'call');
    },
    timers,
    tick: () => {
      for (const work of timers) work();
    },
    run: async <T>(title: string, names: readonly string[], modules = {}) => {
      const [code = ''] = codeBlocks(recipes.get(title) ?? '', 'js');
      return (await runModule(`${code}\nexport { ${names.join(', ')} };`, globals, modules)) as T;
    },
    async signedIn(account, path) {
      const browser = new Browser({ account });
      closeLater(() => browser.close());
      const page = await browser.navigate(url + path);
      expect([page.url, page.status]).toEqual([url + path, 200]);
      return browser;
    },
  };
}

async function runModule(code: string, globals: object, modules: Record<string, object>): Promise<object> {
  // Promises of another context are no native ones to Express's router, which says so.
  const ignore = () => undefined;
  process.on('deprecation' as 'warning', ignore);
  closeLater(() => process.off('deprecation', ignore));
  const module = new vm.SourceTextModule(code, { context: vm.createContext(globals) });
  await module.link(async (specifier, { context }) => {
    const imported = (modules[specifier] ?? (await import(specifier))) as Record<string, unknown>;
    const exports = Object.keys(imported);
    return new vm.SyntheticModule(
      exports,
      function (this: vm.SyntheticModule) {
        for (const name of exports) this.setExport(name, imported[name]);
      },
      { context },
    );
  });
  await module.evaluate();
  return module.namespace;
}

/** It knows whose token it is called with. */
function createApi(provider: TestProvider, note: (call: string) => void): Server {
  return createServer(async ({ method, url, headers }, res) => {
    const text = headers.authorization?.replace('Bearer ', '') ?? '';
    const { AccessToken, ClientCredentials } = provider.oidc;
    const [user, app] = [await AccessToken.find(text), await ClientCredentials.find(text)];
    const call = `${method} ${url} of ${user?.accountId ?? app?.clientId}, by ${(user ?? app)?.scope}`;
    note(call);
    res.end(call);
  });
}

async function listening(server: Server): Promise<Server> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closeLater(() => {
    server.closeAllConnections();
    server.close();
  });
  return server;
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
