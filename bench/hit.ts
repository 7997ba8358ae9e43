/**
 * What a hit in the process's memory costs: `req.getToken(scope)` inside one request, with 1 and with 50 tokens in
 * the cache, as a ratio to an awaited async function that returns a constant. Run: npx tsx bench/hit.ts
 */
import { performance } from 'node:perf_hooks';
import { type BenchApp, startBenchApp } from './app.ts';

const ROUNDS = 30;
const CALLS = 20_000;

async function baseline(): Promise<object> {
  return CONSTANT;
}
const CONSTANT = {};

async function time(call: () => Promise<object>): Promise<number> {
  const start = performance.now();
  for (let index = 0; index < CALLS; index += 1) await call();
  return ((performance.now() - start) * 1000) / CALLS;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] as number;
}

async function measure(app: BenchApp, tokens: number): Promise<void> {
  await app.fill(tokens);
  const result = await app.insideRequest(async (req) => {
    await req.getToken('a');
    const hits: number[] = [];
    const baselines: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      baselines.push(await time(baseline));
      hits.push(await time(() => req.getToken('a')));
    }
    return { hit: median(hits), base: median(baselines) };
  });
  const ratio = (result.hit / result.base).toFixed(1);
  console.log(`${tokens} tokens: ${result.hit.toFixed(2)} µs a hit, ${ratio} × an awaited constant`);
}

const app = await startBenchApp();
await measure(app, 1);
await measure(app, 50);
await app.close();
