import type { Context } from './context.ts';
import type { LoginOutcome } from './redemptions.ts';
import { hashState } from './start-login.ts';

const KEEP_MS = 60_000;
const WAIT_SECONDS = 10;
const POLL_MS = { first: 25, most: 200 };

/**
 * Tells other processes how a login ended, for a callback that was sent twice; undefined: it failed. Nobody waits for
 * it here: this process answers its own requests without it.
 */
export function publishOutcome(
  { binding, cipher, settings }: Context,
  state: string,
  outcome: LoginOutcome | undefined,
): void {
  const sealed = cipher.seal(JSON.stringify(outcome ?? {}), state, 'outcome');
  binding.transactions.put(outcomeId(state), sealed, KEEP_MS).catch((error: Error) => {
    settings.logger.debug('The outcome of a login could not be shared', { error: error.name });
  });
}

/** The outcome of a login that another process has taken; undefined when it failed, or that process is gone. */
export async function awaitOutcome(context: Context, state: string): Promise<LoginOutcome | undefined> {
  const { binding, cipher, clock } = context;
  const until = clock.now() + WAIT_SECONDS;
  for (let delayMs = POLL_MS.first; clock.now() < until; delayMs = Math.min(2 * delayMs, POLL_MS.most)) {
    const stored = await binding.transactions.peek(outcomeId(state));
    const text = stored && cipher.open(stored.payload, state, 'outcome');
    if (text !== undefined) return readOutcome(text);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
  return undefined;
}

function readOutcome(text: string): LoginOutcome | undefined {
  const { sessionId, returnTo } = JSON.parse(text) as Partial<LoginOutcome>;
  return sessionId === undefined || returnTo === undefined ? undefined : { sessionId, returnTo };
}

function outcomeId(state: string): string {
  return `done.${hashState(state)}`;
}
