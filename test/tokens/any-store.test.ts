import { afterEach, expect, test } from '@jest/globals';
import { SessionStoreCalls } from '../../src/storage/session-store-calls.ts';
import { SessionTokenStore } from '../../src/storage/session-token-store.ts';
import { recordEvents } from '../storage/engine-support.ts';
import { ReleasedLock, releaseAll } from '../storage/timed-lock-support.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { DistantStore, latencyStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { type AppProcess, LIFETIME, login, openProcess } from './process-support.ts';

let provider: TestProvider | undefined;

afterEach(async () => {
  await releaseAll();
  await provider?.close();
});

/** Processes over one store that is 0 to 30 ms away. */
function fleet(op: TestProvider, size: number, seed: number): AppProcess[] {
  const store = latencyStore(0, 30, seed, new DistantStore());
  return Array.from({ length: size }, () => {
    const events = recordEvents();
    const calls = new SessionStoreCalls(store, { readMs: 5000, writeMs: 5000 }, events);
    return openProcess(op, { tokens: new SessionTokenStore(calls, new ReleasedLock(calls), events), events });
  });
}

test('C47: four processes on any store, 0 to 30 ms away, twelve expiries → one grant each, one token', async () => {
  provider = await startProvider({ accessTokenTtl: LIFETIME });
  const processes = fleet(provider, 4, 47);
  const session = await login(processes[0] as AppProcess, provider);
  for (let expiry = 1; expiry <= 12; expiry += 1) {
    travel(LIFETIME + 1);
    provider.clearCalls();
    const answers = await Promise.all(
      processes.flatMap(({ getToken }) => Array.from({ length: 5 }, () => getToken(session))),
    );
    expect([expiry, provider.tokenCalls.length]).toEqual([expiry, 1]);
    const accessToken = provider.tokenCalls[0]?.answer?.access_token;
    expect(new Set(answers.map((answer) => answer.accessToken))).toEqual(new Set([accessToken]));
  }
  for (const { events } of processes)
    expect([events.count('leaseTakenOver'), events.count('commitRefused')]).toEqual([0, 0]);
});

test('C47: five scope sets over four processes: one grant after another, each with the newest refresh token', async () => {
  provider = await startProvider({ accessTokenTtl: LIFETIME });
  const processes = fleet(provider, 4, 48);
  const session = await login(processes[0] as AppProcess, provider);
  travel(LIFETIME + 1);
  provider.clearCalls();
  const sets = ['a', 'b', 'c', 'a b', 'b c'];
  const answers = await Promise.all(
    sets.map((scopes, index) => (processes[index % 4] as AppProcess).getToken(session, { scopes })),
  );
  for (const [index, { scopes }] of answers.entries())
    expect(scopes).toEqual(expect.arrayContaining(sets[index]?.split(' ') ?? []));
  const { tokenCalls } = provider;
  expect(tokenCalls.length).toBeLessThanOrEqual(5);
  expect(tokenCalls.map(({ status }) => status)).toEqual(tokenCalls.map(() => 200));
  for (const [index, call] of tokenCalls.entries())
    if (index > 0) expect(call.params.refresh_token).toBe(tokenCalls[index - 1]?.answer?.refresh_token);
  travel(LIFETIME + 1);
  expect(await processes[3]?.getToken(session)).toMatchObject({ source: 'provider' });
});
