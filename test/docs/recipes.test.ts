import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import type { AuthHandle } from 'express-oidc-tokens';
import { WebSocket, type WebSocketServer } from 'ws';
import { Browser } from '../support/browser.ts';
import { travel } from '../support/time.ts';
import { closeAll, closeLater, openRecipeStage, type RecipeStage } from './recipe-stage.ts';

afterEach(closeAll);

interface App {
  server: Server;
  oidc: AuthHandle;
}

function closeApp({ server, oidc }: App): void {
  closeLater(async () => {
    server.closeAllConnections();
    server.close();
    await oidc.close();
  });
}

interface Chat extends RecipeStage {
  sockets: WebSocketServer;
}

async function startChat(): Promise<Chat> {
  const stage = await openRecipeStage();
  const app = await stage.run<App & Pick<Chat, 'sockets'>>('WebSocket', ['server', 'oidc', 'sockets']);
  closeApp(app);
  closeLater(() => {
    for (const socket of app.sockets.clients) socket.terminate();
  });
  return { ...stage, sockets: app.sockets };
}

/** What a page of this origin does; the status where it is refused. */
async function connect({ url }: Chat, browser: Browser, origin?: string): Promise<WebSocket | number> {
  const cookie = browser.cookies.header(new URL(url), { crossSite: false, safeNavigation: true });
  const socket = new WebSocket(url.replace('http', 'ws'), {
    headers: cookie ? { cookie } : {},
    ...(origin === undefined ? {} : { origin }),
  });
  closeLater(() => socket.terminate());
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
  const [alice, bob] = [await chat.signedIn('alice', '/orders'), await chat.signedIn('bob', '/orders')];
  const [socket, other] = [await open(chat, alice), await open(chat, bob)];
  expect(await ask(socket)).toMatch(/^GET \/orders of alice, by .*orders\.read/);
  expect(await ask(other)).toMatch(/^GET \/orders of bob, by .*orders\.read/);
  await alice.navigate(`${chat.url}/logout`);
  socket.send('orders');
  expect((await once(socket, 'close'))[0]).toBe(4401);
  expect(await ask(other)).toContain('bob');
  expect(await connect(chat, alice, chat.url)).toBe(401);
});

test('WebSocket: one that only listens is told of the logout too, and its timer ends with it', async () => {
  const chat = await startChat();
  const alice = await chat.signedIn('alice', '/orders');
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
  const alice = await chat.signedIn('alice', '/orders');
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
  const alice = await chat.signedIn('alice', '/orders');
  expect(await connect(chat, alice, 'https://evil.example')).toBe(403);
  expect(await connect(chat, alice, 'null')).toBe(403);
  expect(await connect(chat, alice)).toBe(403);
  expect(await connect(chat, alice, chat.url)).toBeInstanceOf(WebSocket);
});

test('WebSocket: no token because of the provider → come back later, not sign in', async () => {
  const chat = await startChat();
  const alice = await chat.signedIn('alice', '/orders');
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

interface Job {
  sessionId: string;
}

/** A queue that hands its jobs out when the test says so. */
class TestQueue {
  readonly jobs: Job[] = [];
  #process: (job: Job) => Promise<void> = async () => undefined;
  add = async (job: Job) => void this.jobs.push(job);
  process = (work: (job: Job) => Promise<void>) => {
    this.#process = work;
  };

  async work(): Promise<void> {
    for (const job of this.jobs) await this.#process(job);
  }
}

test('Queue: a job acts for the user of its session, until they sign out; what passes is thrown', async () => {
  const stage = await openRecipeStage();
  const queue = new TestQueue();
  closeApp(await stage.run<App>('Queue', ['server', 'oidc'], { './queue.js': { queue } }));
  const alice = await stage.signedIn('alice', '/reports');
  const form = { url: `${stage.url}/reports`, method: 'POST', from: stage.url };
  expect((await alice.navigate(form)).status).toBe(202);
  expect(queue.jobs.map((job) => Object.keys(job))).toEqual([['sessionId']]);
  travel(3601);
  await queue.work();
  expect(stage.apiCalls).toEqual(['POST /reports of alice, by reports.write']);
  travel(3601);
  stage.provider.scriptAlways({ status: 503 });
  await expect(queue.work()).rejects.toMatchObject({ code: 'ERR_OIDC_PROVIDER_UNAVAILABLE' });
  await alice.navigate(`${stage.url}/logout`);
  await queue.work();
  expect(stage.apiCalls).toHaveLength(1);
});

test('Timer: the app’s own token, asked for once', async () => {
  const stage = await openRecipeStage();
  const { oidc } = await stage.run<Pick<App, 'oidc'>>('Timer', ['oidc']);
  closeLater(() => oidc.close());
  for (let turn = 1; turn <= 2; turn += 1) {
    stage.tick();
    await stage.whenApiCalls(turn);
  }
  expect(stage.apiCalls).toEqual(Array(2).fill('POST /reports of web-app, by reports.write'));
  expect(stage.provider.tokenCalls).toHaveLength(1);
});
