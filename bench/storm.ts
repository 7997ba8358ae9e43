/**
 * A refresh storm: so many requests of one user at once, right after the access token's expiry, over 1, 2 and 4 real
 * processes and a real Redis. Run: npx tsx bench/storm.ts [--provider-ms=100] [--rounds=5]
 *
 * Every request must be answered 200 and the provider must see one grant, else the exit code is 1.
 */
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { LOAD_OR_LOCK } from '../src/storage/redis-scripts.ts';
import { Browser } from '../test/support/browser.ts';
import { type Fleet, removeBundle, startFleet } from '../test/support/fleet.ts';
import { startProvider, type TestProvider } from '../test/support/provider.ts';
import { startRedis, type TestRedis } from '../test/support/redis.ts';

const LIFETIME = 600;

const { values } = parseArgs({
  options: {
    'provider-ms': { type: 'string', default: '100' },
    rounds: { type: 'string', default: '5' },
  },
});
const PROVIDER_MS = Number(values['provider-ms']);
const ROUNDS = Number(values.rounds);

interface Answers {
  statuses: number[];
  /** In milliseconds, the shortest first. */
  times: number[];
}

interface Round extends Answers {
  grants: number;
}

class Storm {
  readonly #provider: TestProvider;
  readonly #redis: TestRedis;
  readonly #fleet: Fleet;
  readonly #browser: Browser;

  constructor(provider: TestProvider, redis: TestRedis, fleet: Fleet, browser: Browser) {
    this.#provider = provider;
    this.#redis = redis;
    this.#fleet = fleet;
    this.#browser = browser;
  }

  /** So many requests at once, each to the next process. */
  async requests(count: number): Promise<Answers> {
    const { processes } = this.#fleet;
    const answers = await Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const startedAt = performance.now();
        const { status } = await this.#browser.fetchJson(`${processes[index % processes.length]!.url}/token`);
        return { status, tookMs: performance.now() - startedAt };
      }),
    );
    return {
      statuses: answers.map(({ status }) => status),
      times: answers.map(({ tookMs }) => tookMs).sort((a, b) => a - b),
    };
  }

  async afterExpiry(count: number): Promise<Round> {
    await this.#fleet.travel(LIFETIME + 1);
    this.#provider.clearCalls();
    const answers = await this.requests(count);
    return { ...answers, grants: this.#provider.refreshCalls.length };
  }

  /** What a process waits for the provider when nothing else goes on. */
  async providerMs(): Promise<number> {
    const before = this.#fleet.events('refresh.ok').length;
    for (let refresh = 0; refresh < 20; refresh += 1)
      await this.#browser.fetchJson(`${this.#fleet.url}/token?force`);
    const events = this.#fleet.events('refresh.ok').slice(before);
    return median(events.map(({ details }) => (details as { durationMs: number }).durationMs));
  }

  /** Looks at the lease, per process: a connection of Redis each. Watched in a round of its own, for it costs time. */
  async polls(count: number): Promise<number[]> {
    const perConnection = new Map<string, number>();
    const monitor = await this.#redis.client();
    await monitor.monitor((line) => {
      const address = /\[\d+ ([^\]]+)\]/.exec(String(line))?.[1] ?? '';
      if (String(line).includes(LOAD_OR_LOCK.sha1))
        perConnection.set(address, (perConnection.get(address) ?? 0) + 1);
    });
    await this.afterExpiry(count);
    monitor.destroy();
    return [...perConnection.values()];
  }
}

async function withStorm<T>(processes: number, work: (storm: Storm) => Promise<T>): Promise<T> {
  const [provider, redis] = [await startProvider({ accessTokenTtl: LIFETIME }), await startRedis()];
  const fleet = await startFleet({
    provider,
    store: { kind: 'redis', url: redis.url, timeoutMs: 500 },
    processes,
  });
  const browser = new Browser();
  try {
    await browser.login(fleet);
    fleet.share(browser);
    provider.scriptAlways({ delayMs: PROVIDER_MS });
    return await work(new Storm(provider, redis, fleet, browser));
  } finally {
    browser.close();
    await fleet.close();
    await redis.close();
    await provider.close();
  }
}

function percentile(times: number[], share: number): number {
  return times[Math.min(times.length - 1, Math.ceil(times.length * share) - 1)] as number;
}

function median(numbers: number[]): number {
  return percentile(
    numbers.sort((a, b) => a - b),
    0.5,
  );
}

async function measure(storm: Storm, processes: number, count: number): Promise<Record<string, unknown>> {
  await storm.afterExpiry(count); // connections, compiled code
  const providerMs = await storm.providerMs();
  const rounds: Round[] = [];
  const hits: Answers[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.push(await storm.afterExpiry(count));
    hits.push(await storm.requests(count));
  }
  const all = rounds.flatMap(({ statuses }) => statuses);
  const [p50, p99] = [0.5, 0.99].map((share) => median(rounds.map(({ times }) => percentile(times, share))));
  const isFine = rounds.every(({ grants }) => grants === 1) && all.every((status) => status === 200);
  if (!isFine) process.exitCode = 1;
  return {
    processes,
    requests: count,
    grants: [...new Set(rounds.map(({ grants }) => grants))].join(' '),
    'answered 200': `${(100 * all.filter((status) => status === 200).length) / all.length} %`,
    'provider ms': providerMs,
    'p50 ms': Math.round(p50!),
    'p99 ms': Math.round(p99!),
    'p50 ×': (p50! / providerMs).toFixed(2),
    'p99 ×': (p99! / providerMs).toFixed(2),
    'hits p50 ms': Math.round(median(hits.map(({ times }) => percentile(times, 0.5)))),
    'hits p99 ms': Math.round(median(hits.map(({ times }) => percentile(times, 0.99)))),
    'polls per process': (await storm.polls(count)).join(' '),
  };
}

/** Rows by the names of their columns. */
const rows: Record<string, unknown>[] = [];
for (const processes of [1, 2, 4]) {
  await withStorm(processes, async (storm) => {
    for (const count of [50, 500]) rows.push(await measure(storm, processes, count));
  });
}
removeBundle();
const line = (cells: unknown[]): string => `| ${cells.join(' | ')} |`;
console.log(line(Object.keys(rows[0]!)));
console.log(line(Object.keys(rows[0]!).map(() => '--:')));
for (const row of rows) console.log(line(Object.values(row)));
