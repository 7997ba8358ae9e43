import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { SignedIn } from '../../src/core/session-handle.ts';
import type { TokenCache } from '../../src/core/token-cache.ts';
import { COMMIT, LOAD } from '../../src/storage/redis-scripts.ts';
import { describeRedis, isPending, keyOf, redisEngine, WatchedClient } from '../storage/engine-support.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { restoreTime, travel } from '../support/time.ts';
import { type AppProcess, LIFETIME, login, openProcess } from './process-support.ts';

const REFRESH = { grantType: 'refresh_token' };
const INTERACTION = { name: 'InteractionRequiredError' };

function barrier(): { passed: Promise<void>; open: () => void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

/** A connection whose server does as it is told, and whose answer to the next commit is lost. */
class LossyClient extends WatchedClient {
  losesNextCommit = false;
  /** What comes between, by the script that is about to run. */
  before = new Map<string, () => Promise<unknown>>();

  override async sendCommand(words: string[]): Promise<unknown> {
    await this.before.get(words[1] ?? '')?.();
    const isLost = this.losesNextCommit && words[1] === COMMIT.sha1;
    if (isLost) this.losesNextCommit = false;
    const answer = await super.sendCommand(words);
    if (isLost) throw new Error('Socket closed unexpectedly');
    return answer;
  }
}

describeRedis('commits that the store does not take at once', () => {
  let redis: TestRedis;
  let provider: TestProvider;
  let mine: AppProcess;
  let theirs: AppProcess;
  let client: LossyClient;
  let theirClient: WatchedClient;
  let session: SignedIn;

  beforeEach(async () => {
    redis = await startRedis();
    provider = await startProvider({ accessTokenTtl: LIFETIME });
    client = new LossyClient(await redis.client({ socket: { reconnectStrategy: 50 } }));
    mine = openProcess(provider, redisEngine(client));
    theirClient = new WatchedClient(await redis.client({ socket: { reconnectStrategy: 50 } }));
    theirs = openProcess(provider, redisEngine(theirClient));
    session = await login(mine, provider);
    provider.clearCalls();
  });
  afterEach(async () => {
    restoreTime();
    await redis.close();
    await provider.close();
  });

  async function admin(...words: string[]): Promise<unknown> {
    const connection = await redis.client();
    return connection.sendCommand(words);
  }

  const storedRefreshToken = async () =>
    (await mine.records.load(session.handle)).cache?.refreshTokens[0]?.token ?? '';

  const version = async () => Number(await admin('HGET', keyOf(session.handle.ref), 'v'));

  /** After the next expiry either process gets a token, with one grant that works at the first try. */
  async function expectAlive(): Promise<void> {
    travel(LIFETIME + 1);
    provider.clearCalls();
    const answers = await Promise.all([mine.getToken(session), theirs.getToken(session)]);
    expect(provider.tokenCalls.map(({ status }) => status)).toEqual([200]);
    expect(new Set(answers.map(({ accessToken }) => accessToken)).size).toBe(1);
  }

  /** A refresh whose answer is on its way back while `trouble` comes. */
  async function refreshInto(trouble: () => Promise<unknown>) {
    travel(LIFETIME + 1);
    const { passed, open } = barrier();
    provider.script({ ...REFRESH, waitAfter: passed });
    const refreshing = mine.getToken(session);
    await provider.whenTokenCalls(1);
    await trouble();
    open();
    return refreshing;
  }

  /** As a login that brings no refresh token: the newer record holds the one that is being spent. */
  async function overtake(change = (cache: TokenCache) => cache): Promise<void> {
    const { cache, version } = await theirs.records.load(session.handle);
    const sealed = theirs.records.seal(session, version, change(cache!), Date.now() / 1000);
    expect(await theirs.records.commit(session.handle, sealed)).toBe('committed');
  }

  async function untilRetried(times: number): Promise<void> {
    while (mine.events.count('commitRetried') < times) await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** A refresh whose commit the store does not take for half a minute. */
  async function refreshUnsaved(): Promise<void> {
    const refreshing = refreshInto(() => admin('CONFIG', 'SET', 'maxmemory', '1'));
    const outcome = expect(refreshing).rejects.toMatchObject({ name: 'StoreUnavailableError' });
    await untilRetried(2);
    travel(31);
    await outcome;
  }

  test('C45: killed between answer and commit, and back with the old record: committed, alive, one grant', async () => {
    await admin('SAVE');
    const answer = await refreshInto(async () => {
      await redis.stop();
      await redis.start();
    });
    expect(answer).toMatchObject({ source: 'provider' });
    expect(await version()).toBe(2);
    expect(await theirs.getToken(session)).toMatchObject({
      accessToken: answer.accessToken,
      source: 'cache',
    });
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive();
  });

  test('C45: the same with a process that waits: it holds back, also for callers who come after the restart', async () => {
    await admin('SAVE');
    let waiting: Promise<unknown> = Promise.resolve();
    const persist = async () => {
      for (;;) {
        const token = await theirs.getToken(session).catch(() => undefined);
        if (token !== undefined) return token;
      }
    };
    const answer = await refreshInto(async () => {
      waiting = persist();
      // A look at the cache, and two at the lease.
      await theirClient.more(4);
      await redis.stop();
      await redis.start();
      // The server knows of no lease now; whoever saw it does.
      await theirClient.more(4);
      expect(provider.tokenCalls).toHaveLength(1);
    });
    expect(await waiting).toMatchObject({ accessToken: answer.accessToken });
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive();
  });

  test.each([
    [
      'no memory',
      () => admin('CONFIG', 'SET', 'maxmemory', '1'),
      () => admin('CONFIG', 'SET', 'maxmemory', '0'),
    ],
    ['read only', () => admin('REPLICAOF', '127.0.0.1', '1'), () => admin('REPLICAOF', 'NO', 'ONE')],
    ['scripts flushed', () => admin('SCRIPT', 'FLUSH'), async () => undefined],
  ])('C45: %s: tried until it is accepted, and nobody has the token before', async (title, begin, end) => {
    const refreshing = refreshInto(begin);
    if (title !== 'scripts flushed') {
      await untilRetried(2);
      expect(await isPending(refreshing)).toBe(true);
      expect(await version()).toBe(1);
      await end();
    }
    const { accessToken } = await refreshing;
    expect(await version()).toBe(2);
    expect(await theirs.getToken(session)).toMatchObject({ accessToken, source: 'cache' });
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive();
  });

  test('a commit whose answer was lost is committed once, and is no newer record to itself', async () => {
    for (const request of [{}, { forceRefresh: true }]) {
      travel(LIFETIME + 1);
      provider.clearCalls();
      client.losesNextCommit = true;
      const before = await version();
      expect(await mine.getToken(session, request)).toMatchObject({ source: 'provider' });
      expect(await version()).toBe(before + 1);
      expect(provider.tokenCalls).toHaveLength(1);
    }
    expect(mine.events.count('commitRetried')).toBe(2);
    expect(mine.events.count('commitRefused')).toBe(0);
    await expectAlive();
  });

  test('the end of a refresh token is stored as patiently, and nobody spends it again', async () => {
    const token = await provider.oidc.RefreshToken.find(await storedRefreshToken());
    await provider.oidc.RefreshToken.revokeByGrantId(String(token?.grantId));
    const refreshing = refreshInto(() => admin('CONFIG', 'SET', 'maxmemory', '1'));
    const outcome = expect(refreshing).rejects.toMatchObject(INTERACTION);
    await untilRetried(2);
    await admin('CONFIG', 'SET', 'maxmemory', '0');
    await outcome;
    expect(await version()).toBe(2);
    await expect(theirs.getToken(session)).rejects.toMatchObject(INTERACTION);
    expect(provider.tokenCalls).toHaveLength(1);
  });

  test('after half a minute the caller is sent away; the token is kept, and stored before the next grant', async () => {
    await refreshUnsaved();
    expect(mine.logs.filter(({ level }) => level === 'error')).toHaveLength(1);
    const said = mine.logs.filter(({ message }) => message.includes('cannot be stored now'));
    expect(said.map(({ details }) => details)).toEqual([{ error: expect.stringContaining('out of memory') }]);
    const { refresh_token, access_token } = provider.tokenCalls[0]?.answer ?? {};
    await expect(mine.getToken(session)).rejects.toMatchObject({ name: 'StoreUnavailableError' });
    await admin('CONFIG', 'SET', 'maxmemory', '0');
    expect(await mine.getToken(session)).toMatchObject({ accessToken: access_token, source: 'cache' });
    expect(await version()).toBe(2);
    expect(provider.tokenCalls).toHaveLength(1);
    await expectAlive();
    expect(provider.tokenCalls[0]?.params.refresh_token).toBe(refresh_token);
  });

  test('… and it is forgotten where the session got another cache, or ended, meanwhile', async () => {
    await refreshUnsaved();
    await theirs.records.remove(session.handle);
    await admin('CONFIG', 'SET', 'maxmemory', '0');
    await expect(mine.getToken(session)).rejects.toMatchObject({ ...INTERACTION, reason: 'signed_out' });
    expect(await admin('HGETALL', keyOf(session.handle.ref))).toEqual({ t: '1' });
  });

  test('… and also where a login was stored meanwhile that holds the spent one still', async () => {
    await refreshUnsaved();
    await admin('CONFIG', 'SET', 'maxmemory', '0');
    await overtake();
    const { access_token } = provider.tokenCalls[0]?.answer ?? {};
    expect(await mine.getToken(session)).toMatchObject({ accessToken: access_token, source: 'cache' });
    await expectAlive();
  });

  test('… and not where that login brought another', async () => {
    await refreshUnsaved();
    await admin('CONFIG', 'SET', 'maxmemory', '0');
    const refreshTokens = [{ token: 'of the login', resources: [] }];
    await overtake((cache) => ({ ...cache, refreshTokens, accessTokens: [] }));
    await expect(mine.getToken(session)).rejects.toMatchObject(INTERACTION);
    expect(provider.tokenCalls[1]?.params.refresh_token).toBe('of the login');
  });

  test('a commit that many logins overtake, one after another, is made to the last of them, also where reading one fails', async () => {
    let overtaking = 12;
    client.before.set(COMMIT.sha1, async () => {
      if (overtaking > 0) await overtake();
      overtaking -= 1;
    });
    client.before.set(LOAD.sha1, async () => {
      if (overtaking === 12) return;
      client.before.delete(LOAD.sha1);
      throw new Error('Socket closed unexpectedly');
    });
    travel(LIFETIME + 1);
    expect(await mine.getToken(session)).toMatchObject({ source: 'provider' });
    expect(overtaking).toBe(-1);
    expect(await storedRefreshToken()).toBe(provider.tokenCalls[0]?.answer?.refresh_token);
    await expectAlive();
  });

  test('C36: a logout right after the login that overtook a refresh: the token of the refresh is revoked', async () => {
    client.before.set(COMMIT.sha1, async () => {
      client.before.delete(COMMIT.sha1);
      await overtake();
      client.before.set(LOAD.sha1, async () => void (await theirs.records.remove(session.handle)));
    });
    travel(LIFETIME + 1);
    await expect(mine.getToken(session)).rejects.toMatchObject({ ...INTERACTION, reason: 'signed_out' });
    while (provider.revocations.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(provider.revocations[0]?.token).toBe(provider.tokenCalls[0]?.answer?.refresh_token);
  });

  test('C36: a logout while a commit is tried again: refused for good, and the token revoked', async () => {
    const refreshing = refreshInto(() => admin('CONFIG', 'SET', 'maxmemory', '1'));
    const outcome = expect(refreshing).rejects.toMatchObject({ ...INTERACTION, reason: 'signed_out' });
    await untilRetried(1);
    await theirs.records.remove(session.handle);
    await outcome;
    while (provider.revocations.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(provider.revocations[0]?.token).toBe(provider.tokenCalls[0]?.answer?.refresh_token);
    await admin('CONFIG', 'SET', 'maxmemory', '0');
    expect(await admin('HGETALL', keyOf(session.handle.ref))).toEqual({ t: '1' });
  });

  test('C46: a store restored to an older state: who saw the newer version challenges and spends nothing', async () => {
    await admin('SAVE');
    travel(LIFETIME + 1);
    await mine.getToken(session);
    await redis.stop();
    await redis.start();
    provider.clearCalls();
    travel(LIFETIME + 1);
    const attempts = [mine.getToken(session), mine.getToken(session, { scopes: 'a', forceRefresh: true })];
    for (const attempt of attempts) await expect(attempt).rejects.toMatchObject(INTERACTION);
    expect(provider.tokenCalls).toEqual([]);
    expect(mine.events.seen).toContainEqual({
      name: 'olderVersionSeen',
      details: { stored: 1, seen: 2 },
    });
    // The login after the challenge begins a new record; the restored one is not built on.
    const { ref } = session.handle;
    session = await login(mine, provider);
    expect(session.handle.ref).not.toBe(ref);
    await expectAlive();
  });
});
