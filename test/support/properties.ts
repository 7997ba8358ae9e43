import fc from 'fast-check';

// Property tests draw the same cases in every run: a change is judged by them, not by luck.
// `PROPERTY_SEED=random PROPERTY_RUNS=10 npx jest core fuzz` looks further; a failure prints the seed that has it again.
const { PROPERTY_SEED = '20261122', PROPERTY_RUNS = '1' } = process.env;

export const SEED = PROPERTY_SEED === 'random' ? Date.now() % 2 ** 31 : Number(PROPERTY_SEED);

/** How many cases a property is tried with: as many, times `PROPERTY_RUNS`. */
export function runs(usual: number): number {
  return usual * Number(PROPERTY_RUNS);
}

fc.configureGlobal({ seed: SEED, numRuns: runs(100) });

export { fc };
