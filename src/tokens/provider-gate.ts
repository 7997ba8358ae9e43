import type { Clock, Events, PatienceStore } from '../core/ports.ts';
import { classifyFailure, type Outcome, retriesFor } from '../core/token-endpoint-outcome.ts';
import type { GrantContext, GrantResult } from '../protocol/grants.ts';
import type { Provider } from '../protocol/provider.ts';
import { Breaker } from './breaker.ts';
import { ProviderPatience } from './provider-patience.ts';

export interface GateParts {
  readonly provider: Provider;
  readonly clock: Clock;
  readonly events: Events;
  readonly settings: { readonly grantTimeoutMs: number; readonly maxRetryAfterMs: number };
}

/** The way to the provider's token endpoint for refresh, app and on-behalf-of grants: its patience, our retries. */
export class ProviderGate {
  readonly #parts: GateParts;
  readonly #patience: ProviderPatience;
  readonly #breaker: Breaker;

  constructor(parts: GateParts) {
    this.#parts = parts;
    this.#patience = new ProviderPatience(parts.clock, parts.settings.maxRetryAfterMs);
    this.#breaker = new Breaker(parts.clock, parts.events);
  }

  /** From now on a `Retry-After` is known to all processes that share this store. */
  share(store: PatienceStore | undefined): void {
    this.#patience.share(store);
  }

  /**
   * Sends a grant, and the same once more at once where that can help.
   *
   * @throws {ProviderUnavailableError} while the provider is not to be called, and when it cannot be discovered.
   */
  async ask(send: (context: GrantContext) => Promise<GrantResult>): Promise<GrantResult> {
    const { provider, clock, settings } = this.#parts;
    await this.#patience.check();
    this.#breaker.check();
    const connection = await provider.connect();
    const signal = AbortSignal.timeout(settings.grantTimeoutMs);
    const context = { connection, signal, now: () => clock.now() };
    for (let retries = 0; ; retries += 1) {
      const result = await send(context);
      const isLast = result.ok || result.refreshToken !== undefined || signal.aborted;
      if (isLast || retries >= retriesFor(classifyFailure(result.failure))) {
        return this.#learn(result);
      }
    }
  }

  async #learn(result: GrantResult): Promise<GrantResult> {
    const outcome = result.ok ? undefined : classifyFailure(result.failure);
    if (outcome !== undefined && isFailing(outcome)) this.#breaker.failed();
    else this.#breaker.succeeded();
    if (result.ok || outcome?.kind !== 'throttled') return result;
    const retryAfter = await this.#patience.hold(outcome.retryAfter);
    return { ...result, failure: { ...result.failure, ...(retryAfter === undefined ? {} : { retryAfter }) } };
  }
}

/** No answer, or one that asks for patience without a time: the breaker finds one. */
function isFailing(outcome: Outcome): boolean {
  if (outcome.kind === 'throttled') return outcome.retryAfter === undefined;
  return outcome.kind === 'ambiguous' || outcome.kind === 'not_sent';
}
