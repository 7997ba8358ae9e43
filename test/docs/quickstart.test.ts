import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { install, pack, run } from '../support/packed-package.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { codeBlocks, readText } from './markdown.ts';

let directory: string;
let project: string;
const opened: (() => unknown)[] = [];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'express-oidc-tokens-'));
  project = join(directory, 'project');
  await install(await pack(directory), project);
  const [quickstart = ''] = codeBlocks(readText('README.md'), 'js');
  await writeFile(join(project, 'app.mjs'), quickstart);
  await writeFile(join(project, 'port.mjs'), PORT_MODULE);
}, 120_000);

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/**
 * Preloaded, so that the pasted code stays as it is: `listen(3000)` takes a port that was free and is held since. The
 * base URL has to be known before the app starts, as it is for an app that listens on 3000.
 */
const PORT_MODULE = `
import { once } from 'node:events';
import { createServer, Server } from 'node:net';

const reserved = createServer().listen(0, '127.0.0.1');
await once(reserved, 'listening');
process.env.OIDC_BASE_URL = 'http://127.0.0.1:' + reserved.address().port;
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  this.once('listening', () => console.log(process.env.OIDC_BASE_URL));
  return listen.call(this, port === 3000 ? reserved : port, ...rest);
};
`;

const KEY_COMMAND = /node -e "console\.log\(.+\)"/;

test('signs in, greets, and takes the token for the scope to the API', async () => {
  const provider = await openProvider();
  const app = await startQuickstart({ ...variables(provider), API: await startOrders(provider) });
  const browser = new Browser({ account: 'alice' });
  opened.push(() => browser.close());

  expect((await browser.navigate(app.url)).text).toBe('<a href="/login">Log in</a>');
  const home = await browser.navigate(`${app.url}/login`, { from: app.url });
  expect([home.url, home.text]).toEqual([`${app.url}/`, 'Hi Alice']);

  const orders = await browser.navigate(`${app.url}/orders`, { from: app.url });
  expect([orders.url, JSON.parse(orders.text)]).toEqual([`${app.url}/orders`, { orders: ['of alice'] }]);
  expect(provider.authorizations).toHaveLength(2);

  const again = await browser.navigate(`${app.url}/orders`);
  expect(JSON.parse(again.text)).toEqual({ orders: ['of alice'] });
  expect(provider.authorizations).toHaveLength(2);
  // The one thing that is missing in development is a key. Express itself prints the error that became the challenge.
  const warnings = app.stderr().match(/^express-oidc-tokens: .*$/gm);
  expect(warnings).toEqual([expect.stringContaining('No OIDC_ENCRYPTION_KEYS')]);
  expectNoSecrets(app.stderr(), provider);
});

test('/orders before any login ends at the orders', async () => {
  const provider = await openProvider();
  const app = await startQuickstart({ ...variables(provider), API: await startOrders(provider) });
  const browser = new Browser({ account: 'bob' });
  opened.push(() => browser.close());
  const orders = await browser.navigate(`${app.url}/orders?page=2`);
  expect([orders.url, JSON.parse(orders.text)]).toEqual([`${app.url}/orders?page=2`, { orders: ['of bob'] }]);
});

test('in production it does not start without a key, and says how to make one', async () => {
  const provider = await openProvider();
  const production = { ...variables(provider), NODE_ENV: 'production' };
  const refused = await startQuickstart(production).catch((error: Error) => error);
  const [command = ''] = KEY_COMMAND.exec((refused as Error).message) ?? [];
  const { stdout: key } = await run('sh', ['-c', command]);
  const app = await startQuickstart({ ...production, OIDC_ENCRYPTION_KEYS: key.trim() });
  expect((await fetch(app.url)).status).toBe(200);
});

async function openProvider(): Promise<TestProvider> {
  const provider = await startProvider({ scopes: ['orders.read'] });
  opened.push(() => provider.close());
  return provider;
}

function variables({ issuer, client }: TestProvider): Record<string, string> {
  return {
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: client.clientId,
    OIDC_CLIENT_SECRET: client.clientSecret,
    SESSION_SECRET: 'secret of the quickstart',
  };
}

/** An API that knows whose orders it may show from the provider. */
async function startOrders(provider: TestProvider): Promise<string> {
  const server: Server = createServer(async ({ url, headers }, res) => {
    const [, token = ''] = /^Bearer (.+)$/.exec(headers.authorization ?? '') ?? [];
    const found = await provider.oidc.AccessToken.find(token);
    const isAllowed = url === '/orders' && found?.scope?.split(' ').includes('orders.read');
    res.statusCode = isAllowed ? 200 : 403;
    res.end(JSON.stringify(isAllowed ? { orders: [`of ${found?.accountId}`] } : { error: 'forbidden' }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened.push(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Running {
  url: string;
  stderr(): string;
}

/** Runs the pasted code as a process with these variables and no others; rejects with what it said when it ends. */
async function startQuickstart(env: Record<string, string>): Promise<Running> {
  const child = spawn(process.execPath, ['--import', './port.mjs', 'app.mjs'], {
    cwd: project,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  opened.push(() => end(child));
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = once(child, 'close').then(() => Promise.reject(new Error(stderr)));
  const listening = once(child.stdout.setEncoding('utf8'), 'data');
  const [url] = (await Promise.race([listening, ended])) as [string];
  ended.catch(() => undefined);
  return { url: url.trim(), stderr: () => stderr };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill();
  await once(child, 'close');
}
