import { nextDelay, POLL_MS, pause } from '../storage/polling.ts';
import type { Context } from './context.ts';
import type { LoginOutcome } from './redemptions.ts';
import { fingerprint } from './start-login.ts';

const KEEP_MS = 60_000;
const WAIT_SECONDS = 10;

/**
 * Tells other processes how a login ended, for a callback that was sent twice; undefined: it failed. Only the same
 * answer of the provider opens it. Nobody waits for it here: this process answers its own requests without it.
 */
export function publishOutcome(
  { binding, cipher, settings }: Context,
  response: URLSearchParams,
  outcome: LoginOutcome | undefined,
): void {
  const sealed = cipher.seal(JSON.stringify(outcome ?? {}), response.toString(), 'outcome');
  binding.transactions.put(outcomeId(response), sealed, KEEP_MS).catch((error: Error) => {
    settings.logger.debug('The outcome of a login could not be shared', { error: error.name });
  });
}

/**
 * The outcome of a login that another request has taken; undefined when it failed, was that of another answer, or its
 * process is gone.
 */
export async function awaitOutcome(
  context: Context,
  response: URLSearchParams,
): Promise<LoginOutcome | undefined> {
  const { binding, cipher, clock } = context;
  const until = clock.now() + WAIT_SECONDS;
  for (let delayMs: number = POLL_MS.first; clock.now() < until; delayMs = nextDelay(delayMs)) {
    const stored = await binding.transactions.peek(outcomeId(response));
    if (stored !== undefined) return readOutcome(cipher.open(stored.payload, response.toString(), 'outcome'));
    await pause(delayMs);
  }
  return undefined;
}

function readOutcome(text = '{}'): LoginOutcome | undefined {
  const { sessionId, returnTo } = JSON.parse(text) as Partial<LoginOutcome>;
  return sessionId === undefined || returnTo === undefined ? undefined : { sessionId, returnTo };
}

function outcomeId(response: URLSearchParams): string {
  return `done.${fingerprint(response.get('state') ?? '')}`;
}
