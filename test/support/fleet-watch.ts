import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { TestRedis } from './redis.ts';

/** Looks at what a fleet leaves in its store, from outside. */
export interface StoreWatch {
  /** Versions that were written over a higher one of the same record. */
  readonly falls: string[];
  /** The version of the only token cache in the store. */
  version(): Promise<number>;
  /** Leases that somebody holds just now. */
  leases(): Promise<number>;
  close(): Promise<void>;
}

class Versions {
  readonly falls: string[] = [];
  readonly #highest = new Map<string, number>();

  saw(record: string, version: number): void {
    const highest = this.#highest.get(record) ?? 0;
    if (version < highest) this.falls.push(`${record}: ${version} after ${highest}`);
    this.#highest.set(record, Math.max(highest, version));
  }
}

const WRITE = /"HSET" "([^"]*oidc\.[0-9a-f]{64})" "v" "(\d+)"/;

/** Sees every write, through `MONITOR`. */
export async function watchRedis(redis: TestRedis): Promise<StoreWatch> {
  const versions = new Versions();
  const [monitor, client] = [await redis.client(), await redis.client()];
  await monitor.monitor((line) => {
    const [, record = '', version] = WRITE.exec(String(line)) ?? [];
    if (version !== undefined) versions.saw(record, Number(version));
  });
  const caches = async () => (await client.keys('*oidc.*')).filter((key) => /oidc\.[0-9a-f]{64}$/.test(key));
  return {
    falls: versions.falls,
    async version() {
      const found = await Promise.all((await caches()).map((key) => client.hGet(key, 'v')));
      const present = found.filter((version) => version !== null);
      if (present.length !== 1) throw new Error(`${present.length} token caches`);
      return Number(present[0]);
    },
    async leases() {
      const ends = await Promise.all((await caches()).map((key) => client.hGet(key, 'e')));
      const [seconds, micros] = (await client.sendCommand(['TIME'])) as unknown as [string, string];
      const now = Number(seconds) * 1000 + Number(micros) / 1000;
      return ends.filter((end) => Number(end ?? 0) > now).length;
    },
    close: async () => {},
  };
}

type Fields = Record<string, unknown>;

async function readJson(path: string): Promise<Fields> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Fields;
  } catch {
    return {};
  }
}

/** Looks again and again: a version that falls and rises within a few milliseconds is missed. */
export async function watchFiles(path: string): Promise<StoreWatch> {
  const versions = new Versions();
  let isOpen = true;
  const records = async (pattern: RegExp) => {
    const names = (await readdir(path)).filter((name) => pattern.test(name));
    return Promise.all(names.map(async (name) => ({ name, fields: await readJson(join(path, name)) })));
  };
  const caches = () => records(/^oidc\.[0-9a-f]{64}\.json$/);
  const looking = (async () => {
    while (isOpen) {
      for (const { name, fields } of await caches())
        if (typeof fields.version === 'number') versions.saw(name, fields.version);
      await delay(10);
    }
  })();
  return {
    falls: versions.falls,
    async version() {
      const found = (await caches()).flatMap(({ fields }) => fields.version ?? []);
      if (found.length !== 1) throw new Error(`${found.length} token caches`);
      return Number(found[0]);
    },
    async leases() {
      const locks = await records(/^oidc\.lock\./);
      return locks.filter(({ fields }) => fields.released !== true && Number(fields.until) > Date.now())
        .length;
    },
    async close() {
      isOpen = false;
      await looking;
    },
  };
}
