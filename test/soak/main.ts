/**
 * The soak (case C49), for as long as you like.
 *
 * npm run soak -- --seed=7 --users=20 --processes=4 --operations=5000 --kill-every-ms=2000 --rotate-every-ms=20000
 *   --grace-ms=0
 *
 * The same seed gives every user the same operations again, and kills the same processes; when they meet is the
 * machine's.
 */
import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

const numbers = {
  seed: Math.floor(Math.random() * 1_000_000),
  users: 20,
  processes: 4,
  operations: 5000,
  'kill-every-ms': 2000,
  'rotate-every-ms': 20_000,
  'grace-ms': 0,
};
const { values } = parseArgs({
  options: Object.fromEntries(Object.keys(numbers).map((name) => [name, { type: 'string' as const }])),
});
const given = (name: keyof typeof numbers): number => Number(values[name] ?? numbers[name]);

const seed = given('seed');
console.log(`seed ${seed}`);
const { faults, ...figures } = await soak({
  seed,
  users: given('users'),
  processes: given('processes'),
  operations: given('operations'),
  killEveryMs: given('kill-every-ms'),
  rotateEveryMs: given('rotate-every-ms'),
  graceMs: given('grace-ms'),
});
console.log(figures);
for (const fault of faults) console.error(fault);
console.log(faults.length === 0 ? 'No fault.' : `${faults.length} faults; again with --seed=${seed}`);
process.exitCode = faults.length === 0 ? 0 : 1;
