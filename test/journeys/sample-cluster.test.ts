import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Browser } from '../support/browser.ts';
import { redisAvailable } from '../support/redis.ts';
import { freePorts } from './sample-app-setup.ts';

/** Long enough for thirty requests on a busy machine: a second refresh within would be right. */
const LIFETIME_SECONDS = 5;

interface Served {
  name: string;
  pid: number;
  token: string;
  source: string;
}

/** `npm run start:cluster` as it runs, with a folder of its own for what is temporary. */
interface Cluster {
  child: ChildProcess;
  app: string;
  provider: string;
  output: () => string;
}

let folder: string;
let running: Cluster | undefined;
let browser: Browser;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cluster-test-'));
  browser = new Browser();
});

afterEach(async () => {
  browser.close();
  for (const pid of running?.child.exitCode === null ? descendants(running.child) : []) kill(pid);
  running?.child.kill('SIGKILL');
  running = undefined;
  await rm(folder, { recursive: true, force: true });
});

const withRedis = redisAvailable() ? describe : describe.skip;

withRedis('npm run start:cluster', () => {
  test('thirty requests after an expiry: three processes, one refresh; SIGTERM leaves nothing behind', async () => {
    const cluster = await start();
    await signIn(cluster);
    await delay((LIFETIME_SECONDS + 0.2) * 1000);
    const before = await refreshes(cluster);
    const served = await Promise.all(Array.from({ length: 30 }, () => token(cluster)));
    expect(new Set(served.map(({ name }) => name))).toEqual(new Set(['1', '2', '3']));
    expect(new Set(served.map((one) => one.token)).size).toBe(1);
    expect((await refreshes(cluster)) - before).toBe(1);

    const pids = descendants(cluster.child);
    expect(pids).toHaveLength(4); // three processes and Redis
    expect(await redisFolders()).toHaveLength(1);
    cluster.child.kill('SIGTERM');
    expect(await once(cluster.child, 'exit')).toEqual([0, null]);
    expect(pids.filter(isAlive)).toEqual([]);
    expect(await redisFolders()).toEqual([]);
    expect(cluster.output()).not.toMatch(/error|^ +at /im);
  }, 60_000);

  test('the page waits for the expiry by itself, and says what it saw; the other pages are there', async () => {
    const cluster = await start();
    const page = await signIn(cluster);
    expect(page).toMatch(/was served by<\/dt><dd id="process">process [123] \(pid \d+\)/);
    const { status, text } = await browser.navigate(`${cluster.app}/cluster/storm`);
    expect(status).toBe(200);
    expect(text).toContain('<dd id="storm-refreshes"><strong>1 refresh</strong></dd>');
    expect(text).toContain('<dd id="storm-answered">30 of 30, in ');
    expect(text).toContain('<dd id="storm-tokens">1</dd>');
    for (const name of ['1', '2', '3']) expect(text).toContain(`<dt>process ${name}</dt><dd>`);
    expect(text).not.toMatch(/eyJ[\w-]{10}/); // no token in a page

    const contacts = await browser.submit(await browser.navigate(`${cluster.app}/contacts`));
    expect(contacts.text).toContain('Carla Cook');
    expect((await browser.navigate(`${cluster.app}/nightly`)).text).toContain('does not run in this process');
  }, 60_000);

  test('a process that is killed is replaced, and the user stays signed in', async () => {
    const cluster = await start();
    await signIn(cluster);
    process.kill((await token(cluster)).pid, 'SIGKILL');
    while (!(await answeredBy(cluster)).includes('4')) await delay(100);
    await delay(LIFETIME_SECONDS * 1000);
    expect(await token(cluster)).toMatchObject({ source: 'provider' });
  }, 60_000);
});

test('without redis-server: what to install, and exit code 1', async () => {
  const { child, output } = await spawnCluster({ PATH: folder });
  expect(await once(child, 'exit')).toEqual([1, null]);
  expect(output()).toContain(
    'redis-server is not installed. Install Redis (Debian and Ubuntu: apt-get install',
  );
  expect(output()).not.toMatch(/^ +at /m);
  expect(await redisFolders()).toEqual([]);
}, 60_000);

async function start(): Promise<Cluster> {
  running = await spawnCluster({});
  const { child, output } = running;
  while (child.exitCode === null && !output().includes('Ctrl-C')) await delay(50);
  if (child.exitCode !== null) throw new Error(output());
  return running;
}

async function spawnCluster(extra: Record<string, string>): Promise<Cluster> {
  const ports = await freePorts();
  const { PATH, HOME } = process.env;
  const child = spawn(process.execPath, ['--import', 'tsx', 'sample-app/cluster/start.ts'], {
    env: { PATH, HOME, TMPDIR: folder, ACCESS_TOKEN_SECONDS: `${LIFETIME_SECONDS}`, ...ports, ...extra },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk));
  const [app, issuer] = [`http://localhost:${ports.PORT}`, `http://localhost:${ports.PROVIDER_PORT}`];
  return { child, app, provider: issuer, output: () => text };
}

/** Alice, who allows what is asked; the page she ends up at. */
async function signIn({ app }: Cluster): Promise<string> {
  let page = await browser.navigate(`${app}/cluster`);
  page = await browser.submit(page, { user: 'alice' });
  while (page.text.includes('Is this all right')) page = await browser.submit(page);
  expect({ status: page.status, url: page.url }).toEqual({ status: 200, url: `${app}/cluster` });
  return page.text;
}

async function token({ app }: Cluster): Promise<Served> {
  const { status, json } = await browser.fetchJson(`${app}/cluster/token`);
  expect(status).toBe(200);
  return json as Served;
}

/** The processes that took three requests in a row; a dead one takes none. */
async function answeredBy({ app }: Cluster): Promise<string[]> {
  const answers = [];
  for (let turn = 0; turn < 3; turn += 1) answers.push(await browser.fetchJson(`${app}/cluster/token`));
  return answers.flatMap(({ status, json }) => (status === 200 ? [(json as Served).name] : []));
}

async function refreshes({ provider }: Cluster): Promise<number> {
  const { json } = await browser.fetchJson(`${provider}/grants/alice`);
  return (json as Record<string, number>).refresh_token ?? 0;
}

async function redisFolders(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.startsWith('sample-redis-'));
}

/** The web processes and Redis; tsx has children of its own, which follow when they notice. */
function descendants({ pid }: ChildProcess): number[] {
  const lines = spawnSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' }).stdout.trim().split('\n');
  return lines
    .map((line) => line.trim().split(/ +/))
    .filter(
      ([, parent, ...args]) => Number(parent) === pid && /web-process|redis-server/.test(args.join(' ')),
    )
    .map(([child]) => Number(child));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}
