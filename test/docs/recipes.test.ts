import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import vm from 'node:vm';
import { afterEach, expect, test } from '@jest/globals';
import type { AuthHandle } from 'express-oidc-tokens';
import { WebSocket, type WebSocketServer } from 'ws';
import { Browser } from '../support/browser.ts';
import { collectConsole, expectNoSecrets } from '../support/leaks.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';
import { codeBlocks, readText, sections } from './markdown.ts';

const recipes = sections(readText('docs/recipes.md'), 2);
const opened: (() => unknown)[] = [];

const env = { ...process.env };

afterEach(async () => {
  restoreTime();
  process.env = { ...env };
  for (const close of opened.splice(0).reverse()) await close();
});

interface Chat {
  url: string;
  provider: TestProvider;
  /** What the recipe does every thirty seconds, now. */
  tick(): void;
  timers: Set<() => void>;
  sockets: WebSocketServer;
}

/** Runs the code of a recipe as a module of its own, with these globals, and gives what it declares. */
async function runRecipe(title: string, globals: object, names: string): Promise<Record<string, unknown>> {
  const [code = ''] = codeBlocks(recipes.get(title) ?? '', 'js');
  const module = new vm.SourceTextModule(`${code}\nexport { ${names} };`, {
    context: vm.createContext(globals),
  });
  await module.link(async (specifier, { context }) => {
    const imported = await import(specifier);
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
  return module.namespace as Record<string, unknown>;
}

async function startChat(): Promise<Chat> {
  const provider = await startProvider({ scopes: ['orders.read'] });
  const output = collectConsole();
  opened.push(async () => {
    await provider.close();
    output.restore();
    expectNoSecrets(output.text(), provider);
  });
  const port = await listening(createServer());
  const url = `http://127.0.0.1:${(port.address() as AddressInfo).port}`;
  const { issuer, client } = provider;
  Object.assign(process.env, {
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: client.clientId,
    OIDC_CLIENT_SECRET: client.clientSecret,
    OIDC_BASE_URL: url,
    OIDC_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32).toString('base64')}`,
  });
  const timers = new Set<() => void>();
  const globals = {
    URL,
    fetch,
    console,
    process: {
      env: { ...process.env, SESSION_SECRET: 'secret', API: await startOrders(provider), PORT: port },
    },
    setInterval: (work: () => void) => {
      timers.add(work);
      return work;
    },
    clearInterval: (work: () => void) => timers.delete(work),
  };
  const names = ['server', 'oidc', 'sockets'] as const;
  const { server, oidc, sockets } = (await runRecipe('WebSocket', globals, names.join())) as {
    server: Server;
    oidc: AuthHandle;
    sockets: WebSocketServer;
  };
  opened.push(async () => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
    await oidc.close();
  });
  const tick = () => {
    for (const work of timers) work();
  };
  return { url, provider, tick, timers, sockets };
}

async function listening(server: Server): Promise<Server> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened.push(() => server.close());
  return server;
}

/** An API that knows whose orders it shows. */
async function startOrders(provider: TestProvider): Promise<string> {
  const server = createServer(async ({ headers }, res) => {
    const token = await provider.oidc.AccessToken.find(headers.authorization?.replace('Bearer ', '') ?? '');
    res.end(`orders of ${token?.accountId}, by ${token?.scope}`);
  });
  await listening(server);
  opened.push(() => server.closeAllConnections());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function signedIn({ url }: Chat, account: string): Promise<Browser> {
  const browser = new Browser({ account });
  opened.push(() => browser.close());
  const page = await browser.navigate(`${url}/orders`);
  expect([page.url, page.status]).toEqual([`${url}/orders`, 200]);
  return browser;
}

/** What a page of this origin does; the status where it is refused. */
async function connect({ url }: Chat, browser: Browser, origin?: string): Promise<WebSocket | number> {
  const cookie = browser.cookies.header(new URL(url), { crossSite: false, safeNavigation: true });
  const socket = new WebSocket(url.replace('http', 'ws'), {
    headers: cookie ? { cookie } : {},
    ...(origin === undefined ? {} : { origin }),
  });
  opened.push(() => socket.terminate());
  const refused = once(socket, 'unexpected-response') as Promise<[unknown, IncomingMessage]>;
  const [, res] = await Promise.race([refused, once(socket, 'open').then(() => [])]);
  if (res === undefined) return socket;
  res.resume();
  return res.statusCode as number;
}

async function open(chat: Chat, browser: Browser): Promise<WebSocket> {
  const socket = await connect(chat, browser, chat.url);
  if (typeof socket === 'number') throw new Error(`refused with ${socket}`);
  return socket;
}

async function ask(socket: WebSocket): Promise<string> {
  socket.send('orders');
  return String((await once(socket, 'message'))[0]);
}

test('WebSocket: signed in, a message is answered with the user’s token; after the logout the socket ends', async () => {
  const chat = await startChat();
  const [alice, bob] = [await signedIn(chat, 'alice'), await signedIn(chat, 'bob')];
  const [socket, other] = [await open(chat, alice), await open(chat, bob)];
  expect(await ask(socket)).toMatch(/^orders of alice, by .*orders\.read/);
  expect(await ask(other)).toMatch(/^orders of bob, by .*orders\.read/);
  await alice.navigate(`${chat.url}/logout`);
  socket.send('orders');
  expect((await once(socket, 'close'))[0]).toBe(4401);
  expect(await ask(other)).toContain('bob');
  expect(await connect(chat, alice, chat.url)).toBe(401);
});

test('WebSocket: one that only listens is told of the logout too, and its timer ends with it', async () => {
  const chat = await startChat();
  const alice = await signedIn(chat, 'alice');
  const socket = await open(chat, alice);
  chat.tick();
  expect(await ask(socket)).toContain('alice');
  await alice.navigate(`${chat.url}/logout`);
  const [served] = chat.sockets.clients as Set<WebSocket>;
  chat.tick();
  const [[code]] = await Promise.all([once(socket, 'close'), once(served as WebSocket, 'close')]);
  expect(code).toBe(4401);
  expect(chat.timers.size).toBe(0);
});

test('WebSocket: without a session, or with a cookie that was changed, 401', async () => {
  const chat = await startChat();
  expect(await connect(chat, new Browser(), chat.url)).toBe(401);
  const alice = await signedIn(chat, 'alice');
  const cookie = alice.cookies.get(chat.url, 'connect.sid') as string;
  const [id = ''] = cookie.split('.');
  for (const forged of [id, `${id}.${'A'.repeat(43)}`, decodeURIComponent(id).replace('s:', '')]) {
    alice.cookies.set(chat.url, 'connect.sid', forged);
    expect(await connect(chat, alice, chat.url)).toBe(401);
  }
  alice.cookies.set(chat.url, 'connect.sid', cookie);
  expect(await connect(chat, alice, chat.url)).toBeInstanceOf(WebSocket);
});

test('WebSocket: of another origin, or of none, 403', async () => {
  const chat = await startChat();
  const alice = await signedIn(chat, 'alice');
  expect(await connect(chat, alice, 'https://evil.example')).toBe(403);
  expect(await connect(chat, alice, 'null')).toBe(403);
  expect(await connect(chat, alice)).toBe(403);
  expect(await connect(chat, alice, chat.url)).toBeInstanceOf(WebSocket);
});

test('WebSocket: no token because of the provider → come back later, not sign in', async () => {
  const chat = await startChat();
  const alice = await signedIn(chat, 'alice');
  const socket = await open(chat, alice);
  chat.provider.clearCalls();
  travel(3601);
  expect(await ask(socket)).toContain('alice');
  expect(chat.provider.refreshCalls).toHaveLength(1);
  chat.provider.scriptAlways({ status: 503 });
  travel(3601);
  socket.send('orders');
  expect((await once(socket, 'close'))[0]).toBe(1013);
  expect(await connect(chat, alice, chat.url)).toBe(503);
});
