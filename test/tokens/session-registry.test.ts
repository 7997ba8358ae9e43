import { afterEach, expect, jest, test } from '@jest/globals';
import type { Clock } from '../../src/core/ports.ts';
import type { SignedIn } from '../../src/core/session-handle.ts';
import { boundedCache } from '../../src/storage/bounded-cache.ts';
import { PlainCipher } from '../../src/storage/encryption.ts';
import { SessionRegistry } from '../../src/tokens/session-registry.ts';

afterEach(() => void jest.useRealTimers());

test('a registration that fails when nobody waits for it any more is made again a minute later', async () => {
  jest.useFakeTimers();
  const clock: Clock = { now: () => Date.now() / 1000 };
  const failing: ((error: Error) => void)[] = [];
  const index = {
    add: () => new Promise<void>((_resolve, reject) => void failing.push(reject)),
    list: async () => [],
    remove: async () => {},
  };
  const warnings: string[] = [];
  const quiet = () => {};
  const logger = { debug: quiet, info: quiet, warn: (text: string) => warnings.push(text), error: quiet };
  const cipher = new PlainCipher();
  const registry = new SessionRegistry({
    index,
    cipher,
    clock,
    logger,
    registered: boundedCache(10),
    client: 'app',
  });
  const handle = {
    ref: 'r',
    key: 'k',
    issuer: 'i',
    subject: 's',
    client: 'app',
    epoch: 1,
    claims: { iss: 'i', sub: 's' },
  };
  const session = { handle, sessionId: 'session', sessionMs: 3_600_000 } as unknown as SignedIn;

  const kept = registry.keep(session);
  await jest.advanceTimersByTimeAsync(2000);
  await kept;
  failing[0]?.(new Error('the lock is not to be had'));
  await jest.advanceTimersByTimeAsync(0);
  expect(warnings).toHaveLength(1);
  await registry.keep(session);
  expect(failing).toHaveLength(1);
  await jest.advanceTimersByTimeAsync(60_000);
  void registry.keep(session);
  expect(failing).toHaveLength(2);
});
