import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { roundRobin } from '../../sample-app/cluster/proxy.ts';
import { watchRedis } from '../support/fleet-watch.ts';
import { R1 } from '../support/provider.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { seededRandom } from '../support/stores.ts';
import type { Ledger } from './soak-client.ts';
import { SoakProcesses } from './soak-processes.ts';
import { startSoakProvider } from './soak-provider.ts';
import { SoakUser } from './soak-user.ts';

export interface SoakOptions {
  /** Decides what each user does, and which process is killed. */
  seed: number;
  users: number;
  processes: number;
  /** Of all users together. */
  operations: number;
  /** Ends before that many operations. */
  seconds?: number;
  killEveryMs: number;
  rotateEveryMs: number;
  /** For so long a spent refresh token still works at the provider; 0 for one that is strict. */
  graceMs: number;
}

export interface SoakReport {
  /** Nothing of this may happen. */
  faults: string[];
  counts: Record<string, number>;
  refreshes: number;
  kills: number;
  rotations: number;
  /** Keys in Redis at the end. */
  storeKeys: number;
  /** Of the process that lived longest, after a collection. */
  heapMb: number;
  seconds: number;
}

/** Seconds; so that tokens expire again and again. */
const LIFETIME = 3;
const SESSION_MS = 60_000;
/** The longest that any record may live: a pending login. */
const MAX_TTL_MS = 15 * 60_000;
const MAX_HEAP_MB = 200;

/** Case C49: many users, operations and processes, some of which are killed. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1000;
  const [asked, redis] = [await startSoakProvider(LIFETIME, options.graceMs), await startRedis()];
  const { provider } = asked;
  const watch = await watchRedis(redis);
  const keys = [newKey(0)];
  const balancer = createServer();
  balancer.listen(0, '127.0.0.1');
  await once(balancer, 'listening');
  const app = `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`;
  const processes = new SoakProcesses((life) => ({
    redisUrl: redis.url,
    life,
    sessionMs: SESSION_MS,
    auth: {
      issuer: provider.issuer,
      ...provider.client,
      baseUrl: app,
      scopes: 'openid offline_access a b c',
      resources: { api: { resource: R1, scopes: 'a b c' } },
      encryptionKeys: keys,
      routes: { backchannelLogout: '/backchannel-logout' },
    },
  }));
  balancer.on(
    'request',
    roundRobin(() => processes.ports()),
  );

  const ledger: Ledger = {
    counts: new Map(),
    faults: [],
    isExcused: (user) => asked.wasLostToKill(user, processes.killedAt),
    history: (user) => asked.history(user, processes.killedAt),
    loggedIn: (user) => asked.loggedIn(user),
    logoutToken: (user) => provider.signLogoutToken({ sub: user }),
  };
  const users = Array.from(
    { length: options.users },
    (_, index) => new SoakUser(`user-${index}`, app, LIFETIME, options.seed * 1000 + index, ledger),
  );
  const random = seededRandom(options.seed);
  let left = options.operations;
  let isOver = false;
  const use = async (user: SoakUser): Promise<void> => {
    while (left > 0 && seconds() < (options.seconds ?? Number.POSITIVE_INFINITY)) {
      left -= 1;
      if (left % 1000 === 0) asked.forget();
      await user.step();
    }
  };
  /** Never the first: somebody has to grow old, so that what it remembers can be measured. */
  const killing = async (): Promise<void> => {
    while (options.processes > 1) {
      await delay(options.killEveryMs);
      if (isOver) return;
      await processes.kill(1 + Math.floor(random() * (options.processes - 1)));
    }
  };
  let rotations = 0;
  /** A new key is the second one everywhere before it is the first one anywhere. */
  const rotating = async (): Promise<void> => {
    for (;;) {
      await delay(options.rotateEveryMs);
      if (isOver) return;
      rotations += 1;
      for (const place of [keys.length, 0]) {
        if (place === 0) keys.unshift(keys.pop() as (typeof keys)[number]);
        else keys.push(newKey(rotations));
        for (let index = 0; index < options.processes; index += 1) await processes.roll(index);
      }
    }
  };
  try {
    await processes.start(options.processes);
    const disturbing = [killing(), rotating()];
    await Promise.all(users.map(use));
    isOver = true;
    await Promise.all(disturbing);
    await Promise.all(users.map((user) => user.expectAlive()));
    const heapMb = await heapOf(processes);
    const storeKeys = await checkStore(redis, ledger.faults);
    await processes.close();
    ledger.faults.push(...(await watch.falls()).map((fall) => `a version fell: ${fall}`));
    ledger.faults.push(...processes.badEnds.map((end) => `a bad end: ${end}`));
    if (/unhandled|uncaught/i.test(processes.output)) ledger.faults.push(processes.output.slice(-2000));
    const isTold = [...provider.knownSecrets().keys()].some((secret) => processes.output.includes(secret));
    if (isTold) ledger.faults.push('a secret was written to a log');
    if (heapMb > MAX_HEAP_MB) ledger.faults.push(`${heapMb} MB in memory`);
    return {
      faults: ledger.faults,
      counts: Object.fromEntries([...ledger.counts].sort()),
      refreshes: asked.refreshes,
      kills: processes.killedAt.size,
      rotations,
      storeKeys,
      heapMb,
      seconds: Math.round(seconds()),
    };
  } finally {
    isOver = true;
    for (const user of users) user.close();
    await processes.close();
    balancer.close();
    balancer.closeAllConnections();
    await redis.close();
    await provider.close();
  }
}

function newKey(number: number): { kid: string; key: string } {
  return { kid: `k${number}`, key: Buffer.alloc(32, number + 1).toString('base64') };
}

async function heapOf(processes: SoakProcesses): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${processes.ports()[0]}/memory`);
  return Math.round(((await answer.json()) as number) / 1024 / 1024);
}

/** Everything in the store ends by itself, and no lease is left. */
async function checkStore(redis: TestRedis, faults: string[]): Promise<number> {
  const client = await redis.client();
  const keys = await client.keys('*');
  for (const key of keys) {
    const ttl = await client.pTTL(key);
    if (ttl === -1 || ttl > MAX_TTL_MS) faults.push(`${key} lives for ${ttl} ms`);
  }
  return keys.length;
}
