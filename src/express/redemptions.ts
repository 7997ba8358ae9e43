import type { Store } from 'express-session';
import { OidcTokensError } from '../core/errors.ts';

/** How a callback ended: which session to go on with, and where. */
export interface LoginOutcome {
  readonly sessionId: string;
  readonly returnTo: string;
}

interface Redemption {
  readonly browser: string;
  /** Undefined: another process has taken it, and nothing came of it. */
  readonly outcome: Promise<LoginOutcome | undefined>;
  readonly startedAt: number;
}

const REMEMBER_SECONDS = 60;
const MAX_REMEMBERED = 10_000;

const shared = new WeakMap<Store, Redemptions>();

/** One per store and process: a callback may come twice by two middlewares, too. */
export function redemptionsOf(store: Store): Redemptions {
  const existing = shared.get(store) ?? new Redemptions();
  shared.set(store, existing);
  return existing;
}

/**
 * Callbacks being redeemed or just redeemed, so that the same one sent twice gets the same end. The same is the whole
 * answer of the provider, its code included: the state is known also to whoever started the login, which is not its
 * user where somebody planted the session that it began in.
 */
export class Redemptions {
  readonly #redemptions = new Map<string, Redemption>();

  /** The outcome of this answer, for the browser that it belongs to. */
  find(
    answerHash: string,
    browser: string | undefined,
    now: number,
  ): Promise<LoginOutcome | undefined> | undefined {
    const redemption = this.#redemptions.get(answerHash);
    if (redemption === undefined || redemption.browser !== browser) return undefined;
    return now - redemption.startedAt <= REMEMBER_SECONDS ? redemption.outcome : undefined;
  }

  start(
    answerHash: string,
    browser: string,
    now: number,
    redeem: () => Promise<LoginOutcome | undefined>,
  ): Promise<LoginOutcome | undefined> {
    this.#forgetOld(now);
    const outcome = redeem();
    this.#redemptions.set(answerHash, { browser, outcome, startedAt: now });
    outcome.catch((error: unknown) => {
      // A fault that passes: whoever loads the same page again shall not meet it for a minute.
      const isPassing = error instanceof OidcTokensError && error.status === 503;
      if (isPassing && this.#redemptions.get(answerHash)?.outcome === outcome)
        this.#redemptions.delete(answerHash);
    });
    return outcome;
  }

  #forgetOld(now: number): void {
    for (const [answerHash, { startedAt }] of this.#redemptions) {
      if (now - startedAt <= REMEMBER_SECONDS && this.#redemptions.size < MAX_REMEMBERED) break;
      this.#redemptions.delete(answerHash);
    }
  }
}
