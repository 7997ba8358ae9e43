/** What express-oidc-tokens publishes, as metrics for Prometheus: `app.get('/metrics', metrics)`. */
import { subscribe } from 'node:diagnostics_channel';

const CHANNELS = [
  ...['refresh.start', 'refresh.ok', 'refresh.failed', 'refresh.rejected', 'refresh.response_lost'],
  ...['lease.wait', 'lease.takeover', 'commit.ok', 'commit.refused', 'commit.retried', 'cache.older_version'],
  ...['breaker.open', 'breaker.close', 'store.timeout', 'memory.hit', 'memory.miss'],
];
/** Details with few values become labels; times and sizes add up. */
const LABELS = ['reason', 'outcome', 'status', 'by'];
const SUMS = { durationMs: ['seconds', 1000], waitedMs: ['seconds', 1000], bytes: ['bytes', 1] };

const counters = new Map();
const add = (sample, amount) => counters.set(sample, (counters.get(sample) ?? 0) + amount);

for (const channel of CHANNELS) {
  const name = `oidc_tokens_${channel.replace('.', '_')}`;
  subscribe(`express-oidc-tokens:${channel}`, (details) => {
    const labels = LABELS.filter((label) => details[label] !== undefined);
    add(`${name}_total{${labels.map((label) => `${label}="${details[label]}"`)}}`, 1);
    for (const [detail, [unit, divisor]] of Object.entries(SUMS))
      if (details[detail] !== undefined) add(`${name}_${unit}_total`, details[detail] / divisor);
  });
}

/** A handler for Express. Mount it where only Prometheus comes. */
export function metrics(_req, res) {
  const lines = [...counters].sort().map(([sample, value]) => `${sample} ${value}\n`);
  res.type('text/plain; version=0.0.4').send(lines.join(''));
}
