import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { RedisStore } from 'connect-redis';
import { MemoryStore, type Store } from 'express-session';
import type { PatienceStore } from '../../src/core/ports.ts';
import type { SignedIn } from '../../src/core/session-handle.ts';
import { ProviderPatience } from '../../src/tokens/provider-patience.ts';
import { bindTo } from '../storage/engine-support.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { redisAvailable, startRedis } from '../support/redis.ts';
import { DistantStore } from '../support/stores.ts';
import { restoreTime, travel } from '../support/time.ts';
import { type AppProcess, LIFETIME, login, openProcess } from './process-support.ts';

interface Opened {
  /** The same data, as another process has it. */
  open(): Store;
  close(): Promise<void>;
}

const stores: { name: string; start(): Promise<Opened> }[] = [
  {
    name: 'any store',
    async start() {
      const { sessions } = new MemoryStore() as unknown as { sessions: object };
      return { open: () => Object.assign(new DistantStore(), { sessions }), close: async () => {} };
    },
  },
  {
    name: 'Redis',
    async start() {
      const redis = await startRedis();
      const clients = [await redis.client(), await redis.client()];
      const open = () => new RedisStore({ client: clients.pop() });
      return { open, close: () => redis.close() };
    },
  },
];

describe.each(stores.filter(({ name }) => name !== 'Redis' || redisAvailable()))(
  'over $name',
  ({ start }) => {
    let opened: Opened;
    let provider: TestProvider;
    let mine: AppProcess;
    let theirs: AppProcess;
    let session: SignedIn;

    beforeEach(async () => {
      opened = await start();
      provider = await startProvider({ accessTokenTtl: LIFETIME });
      mine = openProcess(provider, bindTo(opened.open()));
      theirs = openProcess(provider, bindTo(opened.open()));
      session = await login(mine, provider);
      provider.clearCalls();
    });
    afterEach(async () => {
      restoreTime();
      await provider.close();
      await opened.close();
    });

    test('A19: a provider that asked one process for patience is not asked by the other', async () => {
      provider.script({ status: 429, headers: { 'retry-after': '5' }, json: { error: 'slow_down' } });
      const refresh = (process: AppProcess) => process.getToken(session);
      travel(LIFETIME + 1);
      await expect(refresh(mine)).rejects.toMatchObject({ status: 503, retryAfter: 5 });
      provider.clearCalls();
      travel(1);
      for (const process of [theirs, mine]) {
        const error = await refresh(process).catch((reason: unknown) => reason);
        expect(error).toMatchObject({ name: 'ProviderUnavailableError', status: 503 });
        expect((error as { retryAfter: number }).retryAfter).toBeLessThanOrEqual(5);
      }
      expect(provider.tokenCalls).toEqual([]);
      travel(4.1);
      expect(await refresh(theirs)).toMatchObject({ source: 'provider' });
    });
  },
);

const NOW = 1_800_000_000;

function openPatience(shared: PatienceStore): ProviderPatience {
  const patience = new ProviderPatience({ now: () => NOW }, 60_000);
  patience.share(shared);
  return patience;
}

describe('the time before which the provider is not asked', () => {
  function patience(stored: number) {
    const written: [number, number][] = [];
    const shared = {
      read: async () => stored,
      write: async (notBefore: number, ttlMs: number) => void written.push([notBefore, ttlMs]),
    };
    return { patience: openPatience(shared), written };
  }

  test.each([
    ['in the past', NOW - 1],
    ['none', 0],
    ['further off than the provider can have asked for', NOW + 61],
    ['no number', Number.NaN],
  ])(
    'one that is %s keeps nobody, and what this process was told counts all the same',
    async (_title, stored) => {
      const { patience: own } = patience(stored);
      await own.check();
      await own.hold(10);
      await expect(own.check()).rejects.toMatchObject({ retryAfter: 10 });
    },
  );

  test('the longest wait is shared, for as long as it lasts, and no longer than the cap', async () => {
    const { patience: own, written } = patience(0);
    await own.hold(50);
    await own.hold(5);
    await own.hold(3600);
    await own.hold(undefined);
    expect(written).toEqual([
      [NOW + 50, 50_000],
      [NOW + 50, 50_000],
      [NOW + 60, 60_000],
    ]);
  });

  test('a store that does not answer neither keeps nor fails anybody', async () => {
    const broken = {
      read: () => Promise.reject(new Error('no')),
      write: () => Promise.reject(new Error('no')),
    };
    const own = openPatience(broken);
    await own.check();
    await own.hold(10);
    await expect(own.check()).rejects.toMatchObject({ status: 503 });
  });
});
