/**
 * What it costs an API to check the access token that it is called with: `requiresBearer` beside
 * express-oauth2-jwt-bearer, and what app tokens and on-behalf-of tokens cost from memory.
 * Run: npx tsx bench/bearer.ts [--rounds=60] [--calls=200]
 */
import { parseArgs } from 'node:util';
import { type Api, type Candidate, startApi } from './bearer-api.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '60' }, calls: { type: 'string', default: '200' } },
});
const ROUNDS = Number(values.rounds);
const CALLS = Number(values.calls);

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number;
}

/** One way to call: all candidates in every round, each time another one first. */
async function compare<K extends string>(
  names: readonly K[],
  call: (name: K, candidate: Candidate) => Promise<number>,
  api: Api,
): Promise<Record<K, number[]>> {
  const found = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<K, number[]>;
  for (let round = -1; round < ROUNDS; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(turn + Math.max(round, 0)) % names.length] as K;
      // Each round begins with new middleware, so that a token is new to it; its keys are there.
      const candidate = await api.candidate();
      const took = await call(name, candidate);
      if (round >= 0) found[name].push(took);
    }
  }
  return found;
}

function ratio(ours: number[], theirs: number[]): string {
  return median(ours.map((took, round) => took / (theirs[round] as number))).toFixed(2);
}

const rows: string[][] = [];
for (const alg of ['RS256', 'ES256'] as const) {
  const api = await startApi(alg, CALLS);
  for (const [title, tokens] of [
    ['new', api.tokens],
    ['known', api.tokens.slice(0, 1)],
  ] as const) {
    const alone = await compare(
      ['ours', 'peer'],
      (name, candidate) => candidate.alone(name, tokens, CALLS),
      api,
    );
    const http = await compare(
      ['none', 'ours', 'peer'],
      (name, candidate) => candidate.http(name, tokens, CALLS),
      api,
    );
    rows.push([
      alg,
      title,
      median(alone.ours).toFixed(1),
      median(alone.peer).toFixed(1),
      ratio(alone.ours, alone.peer),
      ...(['none', 'ours', 'peer'] as const).map((name) => median(http[name]).toFixed(0)),
      ratio(http.ours, http.peer),
    ]);
  }
  await api.close();
}
const api = await startApi('ES256', 1);
const hits = await compare(
  ['bearer', 'onBehalfOf', 'appToken'],
  (name, candidate) => candidate.hits(name, api.tokens[0] as string, CALLS),
  api,
);
await api.close();
const header = ['signed', 'token', 'alone', 'peer', '×', 'HTTP, no guard', 'HTTP', 'peer', '×'];
const line = (cells: string[]): void => console.log(`| ${cells.join(' | ')} |`);
for (const row of [header, header.map(() => '--:'), ...rows]) line(row);
console.log(`
requiresBearer, a known token: ${median(hits.bearer).toFixed(1)} µs
… and from memory a token on behalf of its user: ${median(hits.onBehalfOf).toFixed(1)} µs
getAppToken from memory: ${median(hits.appToken).toFixed(2)} µs`);
