import { afterAll, expect, test } from '@jest/globals';
import { fc, runs, SEED } from '../support/properties.ts';
import { ANSWERS } from './describing-provider.ts';
import { INCOMING, type Operation, R1, R2, SESSIONS, served, World } from './isolation-world.ts';

// Whoever asks, and in whatever order everything happens: a token is for who asked, and for what was asked.

const RUNS = runs(300);

afterAll(() => {
  process.stdout.write(`isolation: seed ${SEED}, ${2 * RUNS} runs, served ${JSON.stringify(served)}\n`);
});

const session = fc.nat(SESSIONS - 1);
const process_ = fc.nat(1);
const subject = fc.constantFrom('alice', 'bob');
const target = fc.constantFrom({}, { resource: R1 }, { resource: R2 }, { audience: 'api://x' });
const how = fc.constantFrom({}, {}, {}, {}, {}, {}, { forceRefresh: true }, { claims: '{"a":1}' });
const request = fc.oneof(
  fc.constant({ scopes: 'a' }),
  fc
    .tuple(fc.constantFrom('a', 'a b', 'c'), target, how)
    .map(([scopes, where, extra]) => ({ scopes, ...where, ...extra })),
);

const kind = <K extends Operation['kind']>(name: K) => fc.constant(name);
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: kind('get token'),
      session,
      process: process_,
      request,
      rejects: fc.constantFrom(-1, -1, 0, 1),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: kind('get app token'), process: process_, request }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: kind('get token on behalf of'),
      process: process_,
      incoming: fc.nat(INCOMING - 1),
      request,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: kind('get ID token'), session, process: process_ }) },
  { weight: 3, arbitrary: fc.record({ kind: kind('log in'), session, process: process_, subject }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('log out'), session, process: process_ }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('forget'), process: process_ }) },
  { weight: 1, arbitrary: fc.record({ kind: kind('wait'), seconds: fc.constantFrom(2, 500, 601) }) },
);
const answer = fc.oneof({ weight: 2, arbitrary: fc.constant('good' as const) }, fc.constantFrom(...ANSWERS));

test.each([1, 2])('%i process(es): no token reaches anybody else, or another API', async (processes) => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.infiniteStream(answer),
      fc.array(subject, { minLength: SESSIONS, maxLength: SESSIONS }),
      fc.array(fc.array(operation, { minLength: 4, maxLength: 10 }), { minLength: 2, maxLength: 4 }),
      async (order, answers, subjects, rounds) => {
        await new World(order, answers[Symbol.iterator](), processes).play(subjects, rounds);
      },
    ),
    { seed: SEED + processes, numRuns: RUNS },
  );
  expect(Object.entries(served).filter(([, count]) => count === 0)).toEqual([]);
});
