import { afterEach, expect, test } from '@jest/globals';
import type { RequestHandler } from 'express';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';
import { readText, sections } from './markdown.ts';

const example = '../../examples/prometheus.mjs';
const { metrics } = (await import(example)) as { metrics: RequestHandler };

const CHANNEL = /(\w+): 'express-oidc-tokens:([\w.]+)'/g;
/** The package's channels, by the names of their events in the source. */
const channels = new Map(
  [...readText('src/express/diagnostics.ts').matchAll(CHANNEL)].map(([, event = '', name = '']) => [
    event,
    name,
  ]),
);

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  restoreTime();
  for (const thing of opened.splice(0).reverse()) await thing.close();
});

test('the example knows every channel', () => {
  const text = readText('examples/prometheus.mjs');
  const [, list = ''] = /CHANNELS = \[([\s\S]*?)\n\];/.exec(text) ?? [];
  expect([...list.matchAll(/'([\w.]+)'/g)].map(([, name]) => name).sort()).toEqual(
    [...channels.values()].sort(),
  );
});

test('docs/operations.md names every channel with what it carries', () => {
  const page = sections(readText('docs/operations.md'), 2).get('What it tells') ?? '';
  const rows = [...page.matchAll(/^\| `([\w.]+)` \|[^|]*\|([^|]*)\|/gm)];
  const documented = new Map(rows.map(([, name, carries = '']) => [name, [...carries.matchAll(/`(\w+)`/g)]]));
  const events = readText('src/core/ports.ts').matchAll(
    /^ {2}(\w+)\(details: (object|\{[^}]*\})\): void;$/gm,
  );
  const carried = [...events].map(([, event = '', details = '']) => [
    channels.get(event),
    [...details.matchAll(/(\w+):/g)].map(([, field]) => field),
  ]);
  expect(carried.length).toBe(channels.size);
  expect([...documented].map(([name, fields]) => [name, fields.map(([, field]) => field)]).sort()).toEqual(
    carried.sort(),
  );
});

test('the example counts what happens, in a format that Prometheus reads', async () => {
  const provider = await open(() => startProvider());
  const app = await open(() =>
    startApp({ provider, routes: (express) => void express.get('/metrics', metrics) }),
  );
  const browser = new Browser();
  opened.push(browser);
  await browser.login(app);
  const silent = () => browser.fetchJson(`${app.url}/silent`);

  const before = await read(app, provider);
  await silent();
  await silent();
  travel(3601);
  await silent();
  travel(3601);
  provider.script({ status: 503, headers: { 'retry-after': '1' } });
  await silent();

  const after = await read(app, provider);
  const counted = [...after].flatMap(([sample, value]) => {
    const more = value - (before.get(sample) ?? 0);
    return more === 0 || sample.includes('seconds') || sample.includes('bytes') ? [] : [[sample, more]];
  });
  expect(Object.fromEntries(counted)).toEqual({
    'oidc_tokens_memory_miss_total{}': 3,
    'oidc_tokens_memory_hit_total{}': 1,
    'oidc_tokens_refresh_start_total{reason="expired"}': 2,
    'oidc_tokens_refresh_ok_total{}': 1,
    'oidc_tokens_refresh_failed_total{outcome="throttled",status="503"}': 1,
    'oidc_tokens_commit_ok_total{}': 1,
  });
  expect(after.get('oidc_tokens_refresh_ok_seconds_total')).toBeGreaterThan(0);
  expect(after.get('oidc_tokens_commit_ok_bytes_total')).toBeGreaterThan(0);
});

async function open<T extends { close(): unknown }>(start: () => Promise<T>): Promise<T> {
  const thing = await start();
  opened.push(thing);
  return thing;
}

/** Every line a sample, and none of it a secret. */
async function read(app: TestApp, provider: TestProvider): Promise<Map<string, number>> {
  const answer = await fetch(`${app.url}/metrics`);
  expect(answer.headers.get('content-type')).toMatch(/^text\/plain; (charset=utf-8; )?version=0\.0\.4/);
  const text = await answer.text();
  expectNoSecrets(text, provider);
  return new Map(
    text
      .split('\n')
      .slice(0, -1)
      .map((line) => {
        const [, sample, value] = /^([a-z_]+(?:\{(?:[a-z]+="[^"\\]*",?)*\})?) ([\d.e-]+)$/.exec(line) ?? [];
        if (sample === undefined) throw new Error(`no sample: ${line}`);
        return [sample, Number(value)];
      }),
  );
}
