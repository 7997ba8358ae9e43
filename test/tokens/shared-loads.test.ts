import { afterEach, expect, test } from '@jest/globals';
import { MemoryStore } from 'express-session';
import type { StoredRecord, TokenStore } from '../../src/core/ports.ts';
import type { TokenCache } from '../../src/core/token-cache.ts';
import { bindTo } from '../storage/engine-support.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';
import { LIFETIME, login, openProcess } from './process-support.ts';

let provider: TestProvider | undefined;

afterEach(async () => {
  restoreTime();
  await provider?.close();
});

/** A process whose reads are counted, and can be held back with what they have read. */
async function open() {
  provider = await startProvider({ accessTokenTtl: LIFETIME });
  const { tokens } = bindTo(new MemoryStore());
  const reads = { count: 0, gate: Promise.resolve() };
  const load = async (ref: string): Promise<StoredRecord> => {
    reads.count += 1;
    const record = await tokens.load(ref);
    await reads.gate;
    return record;
  };
  const counted: TokenStore = {
    load,
    acquire: (ref, seen) => tokens.acquire(ref, seen),
    commit: (ref, commit) => tokens.commit(ref, commit),
    renew: (ref, version, ttlMs) => tokens.renew(ref, version, ttlMs),
    remove: (ref) => tokens.remove(ref),
  };
  const process = openProcess(provider, { tokens: counted });
  const session = await login(process, provider);
  provider.clearCalls();
  reads.count = 0;
  return { provider, process, session, reads };
}

test('100 callers of one session at once: one read, two sessions: two', async () => {
  const { process, session, reads, provider } = await open();
  const other = await login(process, provider);
  reads.count = 0;
  const ask = (of: typeof session) => Array.from({ length: 100 }, () => process.getToken(of));
  const answers = await Promise.all([...ask(session), ...ask({ ...other, sessionId: 'other' })]);
  expect(reads.count).toBe(2);
  expect(new Set(answers.slice(0, 100).map(({ accessToken }) => accessToken)).size).toBe(1);
  expect(answers[100]?.accessToken).not.toBe(answers[0]?.accessToken);
});

test('who joins a read that began before a refresh gets what the refresh brought', async () => {
  const { process, session, reads, provider } = await open();
  const { accessToken } = await process.getToken(session);
  travel(LIFETIME + 1);
  let letThrough = (): void => undefined;
  const early = { ...session, sessionId: 'elsewhere' };
  const refreshed = process.getToken(session, { rejected: accessToken });
  await provider.whenTokenCalls(1);
  reads.gate = new Promise((resolve) => {
    letThrough = resolve;
  });
  const joined = [process.getToken(early), process.getToken(early)];
  const newer = await refreshed;
  joined.push(process.getToken(early));
  letThrough();
  for (const answer of await Promise.all(joined)) expect(answer.accessToken).toBe(newer.accessToken);
  expect(provider.tokenCalls).toHaveLength(1);
});

test('who joins a read that began before this process stored something newer gets the newer', async () => {
  const { process, session, reads } = await open();
  const { records } = process;
  const { cache } = await records.load(session.handle);
  let letThrough = (): void => undefined;
  reads.gate = new Promise((resolve) => {
    letThrough = resolve;
  });
  const early = records.loadTogether(session.handle);
  const newer = { ...(cache as TokenCache), idToken: 'of a step-up' };
  await records.commit(session.handle, records.seal(session, 1, newer, Date.now() / 1000));
  const late = records.loadTogether(session.handle);
  letThrough();
  expect(await late).toMatchObject({ version: 2, cache: { idToken: 'of a step-up' } });
  await early;
});
