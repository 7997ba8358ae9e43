import { afterAll, afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Outcome, Run, type Scenario } from './lease-model.ts';
import { explore } from './scheduler.ts';

const { setTimeout } = globalThis;
const counts: string[] = [];

/** Pauses take no time, and nobody's patience ends: time is not what is explored here. */
beforeEach(() => {
  const timer = { unref() {} };
  const immediately = (work: (...args: unknown[]) => void, delayMs = 0, ...args: unknown[]) => {
    if (delayMs < 5000) queueMicrotask(() => work(...args));
    return timer;
  };
  globalThis.setTimeout = immediately as unknown as typeof setTimeout;
});
afterEach(() => {
  globalThis.setTimeout = setTimeout;
});
afterAll(() => void process.stdout.write(`${counts.join('\n')}\n`));

type Check = (run: Run, afterwards: Outcome) => void;

/** Plays a scenario in every order. What holds for all of them is checked here, the rest by `check`. */
async function exploreAll(title: string, scenario: Scenario, check: Check = () => {}): Promise<void> {
  const { interleavings, runs } = await explore(async (path) => {
    const run = new Run(scenario, path);
    if (!(await run.play())) return;
    const afterwards = await run.afterwards();
    try {
      expect(run.violations).toEqual([]);
      expect(run.store.versions.map(({ version }) => version)).toEqual(
        run.store.versions.map((_, index) => index + 1),
      );
      check(run, afterwards);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n\n${run.trace}\n${JSON.stringify([...run.outcomes])}`);
    }
  });
  counts.push(`model: ${title}: ${interleavings} interleavings in ${runs} runs`);
}

const twice = { scopes: ['a', 'a'] } as const;
const SIGNED_OUT = 'InteractionRequiredError signed_out';

/** Everybody has a token, and so has whoever comes later. */
const allAlive: Check = ({ outcomes }, afterwards) => {
  for (const outcome of [...outcomes.values(), afterwards]) expect(outcome.error).toBeUndefined();
};

/** The processes' refresh tokens were presented in this order, and all were good. */
function presented(...tokens: string[]): Check {
  return ({ provider }) => {
    expect(provider.presented.map(({ refreshToken }) => refreshToken)).toEqual(tokens);
    expect(provider.rejected).toEqual([]);
  };
}

/** As long as the run goes; what is asked for afterwards is one more. */
function during(run: Run): readonly { actor: string; refreshToken: string }[] {
  return run.provider.presented.filter(({ actor }) => actor !== 'afterwards' && actor !== 'soon');
}

describe('without mishaps', () => {
  test('the same scopes: one grant, two tokens', () =>
    exploreAll('two processes', twice, (run, afterwards) => {
      allAlive(run, afterwards);
      presented('rt-1', 'rt-2')(run, afterwards);
      const [one, two] = [...run.outcomes.values()];
      expect(one?.token?.accessToken).toBe(two?.token?.accessToken);
    }));

  test('three processes with two scope sets: one grant after another, each with the newest refresh token', () =>
    exploreAll('three processes, two scope sets', { scopes: ['a', 'b', 'a'] }, (run, afterwards) => {
      allAlive(run, afterwards);
      presented('rt-1', 'rt-2', 'rt-3')(run, afterwards);
    }));

  test('forced: a grant for each', () =>
    exploreAll('two processes, forced', { ...twice, isForced: true }, (run, afterwards) => {
      allAlive(run, afterwards);
      presented('rt-1', 'rt-2', 'rt-3')(run, afterwards);
    }));

  test('beside a step-up: signed in, alive, no refresh token presented twice', () =>
    exploreAll('two processes and a step-up', { ...twice, others: ['step-up'] }, (run, afterwards) => {
      allAlive(run, afterwards);
      expect(run.provider.rejected).toEqual([]);
    }));
});

describe('beside a logout', () => {
  const ended: Check = ({ store, outcomes }, afterwards) => {
    expect(store.state).toBe('tombstone');
    expect(afterwards.error).toBe(SIGNED_OUT);
    for (const { error = SIGNED_OUT } of outcomes.values()) expect(error).toBe(SIGNED_OUT);
  };

  test('the session ends, and no refresh token outlives it', () =>
    exploreAll('two processes and a logout', { ...twice, others: ['logout'] }, (run, afterwards) => {
      ended(run, afterwards);
      expect(run.provider.good).toEqual([]);
    }));

  test('… also where commits fail', () => {
    const scenario: Scenario = { ...twice, others: ['logout'], commitFaults: 1 };
    return exploreAll('a logout and a failing commit', scenario, (run, afterwards) => {
      ended(run, afterwards);
      expect(run.provider.good).toEqual([]);
    });
  });

  test('… and whatever else happens nobody is signed in again', async () => {
    const isOver: Check = ({ store }, afterwards) => {
      expect(store.state).toBe('tombstone');
      expect(afterwards.error).toBe(SIGNED_OUT);
    };
    await exploreAll('a logout and a crash', { ...twice, others: ['logout'], mayCrash: true }, isOver);
    await exploreAll('a logout and a stall', { ...twice, others: ['logout'], stalls: 1 }, isOver);
    await exploreAll(
      'a logout and a lost answer',
      { ...twice, others: ['logout'], answersToLose: 1 },
      isOver,
    );
  });
});

describe('a process crashes', () => {
  test('strict: the session is lost only where the provider had its refresh token', () =>
    exploreAll('a crash, strict', { ...twice, mayCrash: true }, (run, afterwards) => {
      const isLost = afterwards.error !== undefined;
      const hadIt = run.hasCrashed && run.provider.presented.some(({ actor }) => actor === 'P1');
      if (!hadIt) expect(isLost).toBe(false);
      if (!run.hasCrashed) allAlive(run, afterwards);
      // Whoever lives gets an answer: a token or the challenge.
      expect([undefined, 'InteractionRequiredError refresh_token_rejected']).toContain(
        run.outcomes.get('P2')?.error,
      );
    }));

  test('with grace it never is', () =>
    exploreAll('a crash, grace', { ...twice, mayCrash: true, hasGrace: true }, allAlive));

  test('with grace and a stall beside it it never is, either', () => {
    const scenario: Scenario = { scopes: ['a', 'b'], mayCrash: true, stalls: 1, hasGrace: true };
    return exploreAll('a crash and a stall, two scope sets, grace', scenario, allAlive);
  });
});

describe('a holder stalls for longer than its lease', () => {
  test('strict: at most what is not promised goes wrong, and only where a token was presented twice', () =>
    exploreAll('two stalls, strict', { ...twice, stalls: 2 }, (run, afterwards) => {
      const tokens = during(run).map(({ refreshToken }) => refreshToken);
      if (new Set(tokens).size === tokens.length) allAlive(run, afterwards);
    }));

  test('with grace: everybody has a token, and the session lives', () =>
    exploreAll('two stalls, grace', { ...twice, stalls: 2, hasGrace: true }, allAlive));
});

describe('an answer is lost', () => {
  test('strict: the session is lost where the provider had rotated, and with it alone', () =>
    exploreAll('a lost answer, strict', { ...twice, answersToLose: 1 }, (run, afterwards) => {
      if (run.provider.lost.length === 0) allAlive(run, afterwards);
      else expect(run.store.newest?.refreshTokens).toEqual([]);
    }));

  test('with grace: once more at once, and nobody notices', () =>
    exploreAll('a lost answer, grace', { ...twice, answersToLose: 1, hasGrace: true }, allAlive));
});

describe('commits fail', () => {
  test('before or after they are done: one grant, and everybody has its token', () =>
    exploreAll('two failing commits', { ...twice, commitFaults: 2 }, (run, afterwards) => {
      allAlive(run, afterwards);
      presented('rt-1', 'rt-2')(run, afterwards);
    }));

  test('forced: a grant for each, and no third', () =>
    exploreAll(
      'a failing commit, forced',
      { ...twice, commitFaults: 1, isForced: true },
      (run, afterwards) => {
        allAlive(run, afterwards);
        presented('rt-1', 'rt-2', 'rt-3')(run, afterwards);
      },
    ));

  test('and a process crashes: with grace the session lives', () =>
    exploreAll(
      'a failing commit and a crash, grace',
      { ...twice, commitFaults: 1, mayCrash: true, hasGrace: true },
      allAlive,
    ));
});
