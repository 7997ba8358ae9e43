import { accountOf, satisfiesStepUp } from '../core/claims.ts';
import { decide } from '../core/decide.ts';
import { ProviderUnavailableError, ScopeNotGrantedError } from '../core/errors.ts';
import type { Clock, Events, Logger, TokenMemory } from '../core/ports.ts';
import type { SignedIn } from '../core/session-handle.ts';
import type { Account, CachedToken } from '../core/token-cache.ts';
import { type NormalizedRequest, skipsCache } from '../core/token-request.ts';
import { Background } from './background.ts';
import type { CacheRecords, OpenRecord } from './cache-records.ts';
import { Flights, isTimedOut, within } from './flights.ts';
import type { Acquired, Refresher } from './refresh.ts';
import { interactionError, mayServeStale, shuttingDown } from './token-errors.ts';

/** What `req.getToken()` gives. */
export interface TokenResult {
  readonly accessToken: string;
  /** How the API wants it: `Bearer`, as a rule. */
  readonly tokenType: string;
  /** What the provider granted. */
  readonly scopes: readonly string[];
  /** Epoch seconds. */
  readonly expiresAt: number;
  /** Whose token it is. */
  readonly account: Account;
  readonly source: 'cache' | 'provider';
  /** Why the provider was asked. */
  readonly reason?: Acquired['reason'];
  /** Served although it is about to expire, because the provider did not answer. */
  readonly stale?: true;
}

export interface SilentSettings {
  readonly callerTimeoutMs: number;
  readonly clockTolerance: number;
}

export interface SilentParts {
  readonly refresher: Refresher;
  readonly records: CacheRecords;
  readonly memory: TokenMemory<TokenResult>;
  /** Told of a sign-in that another process has ended. */
  readonly ended?: (ref: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: Events;
  readonly settings: SilentSettings;
}

const MEMORY_SECONDS = 60;
const NO_DETAILS = {};
const CLOSE_TIMEOUT_MS = 10_000;

/** Tokens without the user: from memory, from the cache, from a refresh. */
export class SilentAcquisition {
  readonly #parts: SilentParts;
  readonly #refreshes = new Flights<Acquired>();
  readonly #renewals = new Flights<void>();
  readonly #background: Background;

  constructor(parts: SilentParts) {
    this.#parts = parts;
    this.#background = new Background(parts.clock, parts.logger);
  }

  /** A token from this process's memory: synchronous, without any other work. */
  fromMemory(session: SignedIn, request: NormalizedRequest): TokenResult | undefined {
    // Whether what is remembered is newer than the token that was rejected, only the record tells.
    if (skipsCache(request) || request.rejected !== undefined) return undefined;
    if (!this.#satisfiesStepUp(session, request)) return undefined;
    const { handle, sessionId } = session;
    const result = this.#parts.memory.get({ sessionId, ref: handle.ref, epoch: handle.epoch }, request.key);
    if (result === undefined) return undefined;
    this.#parts.events.memoryHit(NO_DETAILS);
    return result;
  }

  /**
   * @throws {InteractionRequiredError} when only the user can help.
   * @throws {ScopeNotGrantedError} when not even the user could.
   * @throws {ProviderUnavailableError} when the provider is needed and does not answer.
   * @throws {StoreUnavailableError} when the session store does not answer.
   */
  async acquire(session: SignedIn, request: NormalizedRequest): Promise<TokenResult> {
    const remembered = this.fromMemory(session, request);
    if (remembered !== undefined) return remembered;
    this.#parts.events.memoryMissed(NO_DETAILS);
    if (!this.#satisfiesStepUp(session, request)) throw interactionError('step_up', request);
    const { records, ended } = this.#parts;
    const record = await records.loadTogether(session.handle);
    const now = this.#parts.clock.now();
    if (record.state === 'tombstone') {
      ended?.(session.handle.ref);
      throw interactionError('signed_out', request);
    }
    const decision = decide(record.cache, request, now);
    switch (decision.kind) {
      case 'interaction':
        throw interactionError(decision.reason, request);
      case 'not_granted':
        throw new ScopeNotGrantedError(decision.scopes);
      case 'refresh':
        return this.#refreshForCaller(session, request, record.version, decision.fallback);
      case 'hit': {
        this.#renew(session, record);
        if (decision.refreshWith !== undefined) this.#refreshInBackground(session, request, record.version);
        const result = this.#result(session, { token: decision.token, source: 'cache' });
        this.#remember(session, request, decision.token, record.remainingMs);
        return result;
      }
    }
  }

  /** The raw ID token of the account, where the cache still holds it. */
  async idToken(session: SignedIn): Promise<string | undefined> {
    const record = await this.#parts.records.load(session.handle);
    return record.cache?.idToken;
  }

  /** No new grants; those in flight are committed first, for ten seconds at most. */
  async close(): Promise<void> {
    this.#parts.refresher.close();
    await within(Promise.all([this.#refreshes.landed(), this.#renewals.landed()]), CLOSE_TIMEOUT_MS);
  }

  async #refreshForCaller(
    session: SignedIn,
    request: NormalizedRequest,
    seen: number,
    fallback: CachedToken | undefined,
  ): Promise<TokenResult> {
    const { callerTimeoutMs } = this.#parts.settings;
    try {
      const acquired = await within(this.#fly(session, request, seen, false), callerTimeoutMs);
      if (isTimedOut(acquired))
        throw new ProviderUnavailableError(
          'The provider takes too long to refresh the token. The refresh goes on; try again.',
        );
      this.#remember(session, request, acquired.token, 2 * session.sessionMs);
      return this.#result(session, acquired);
    } catch (error) {
      if (!mayServeStale(fallback, error, this.#parts.clock.now())) throw error;
      this.#parts.logger.warn('A token about to expire is served, because it could not be refreshed', {
        error: (error as Error).name,
      });
      return { ...this.#result(session, { token: fallback, source: 'cache' }), stale: true };
    }
  }

  #refreshInBackground(session: SignedIn, request: NormalizedRequest, seen: number): void {
    if (this.#parts.refresher.isClosed) return;
    this.#background.start(flightKey(session, request, true), () => this.#fly(session, request, seen, true));
  }

  #fly(
    session: SignedIn,
    request: NormalizedRequest,
    seen: number,
    isBackground: boolean,
  ): Promise<Acquired> {
    const { refresher } = this.#parts;
    return this.#refreshes.join(flightKey(session, request, isBackground), () =>
      refresher.isClosed
        ? Promise.reject(shuttingDown())
        : refresher.refresh(session, request, seen, isBackground),
    );
  }

  #renew(session: SignedIn, record: OpenRecord): void {
    const renewal = this.#renewals.join(session.handle.ref, () =>
      this.#parts.records.renewIfNeeded(session, record),
    );
    renewal.catch((error: Error) =>
      this.#parts.logger.warn('A token cache could not be renewed', { error: error.name }),
    );
  }

  #remember(session: SignedIn, request: NormalizedRequest, token: CachedToken, remainingMs: number): void {
    const { handle, sessionId, sessionMs } = session;
    const now = this.#parts.clock.now();
    // A memory that outlives the moment when the record is due for renewal would let the record die.
    const until = Math.min(now + MEMORY_SECONDS, token.refreshAt, now + (remainingMs - sessionMs) / 1000);
    if (until <= now) return;
    const result = this.#result(session, { token, source: 'cache' });
    const scope = { sessionId, ref: handle.ref, epoch: handle.epoch };
    this.#parts.memory.put(scope, request.key, Object.freeze(result), until, token.accessToken.length);
  }

  #result(session: SignedIn, { token, source, reason }: Acquired): TokenResult {
    const { issuer, subject, claims } = session.handle;
    const account = { ...accountOf(claims), issuer, subject };
    const { accessToken, tokenType, scopes, expiresAt } = token;
    return {
      accessToken,
      tokenType,
      scopes,
      expiresAt,
      account,
      source,
      ...(reason === undefined ? {} : { reason }),
    };
  }

  #satisfiesStepUp(session: SignedIn, request: NormalizedRequest): boolean {
    if (request.acrValues === undefined && request.maxAge === undefined) return true;
    const { clock, settings } = this.#parts;
    return satisfiesStepUp(session.handle.claims, request, clock.now(), settings.clockTolerance);
  }
}

/** Requests that one grant answers: same session, target and scopes, and the same way of asking. */
function flightKey(session: SignedIn, request: NormalizedRequest, isBackground: boolean): string {
  const how = [isBackground, request.forceRefresh, request.claims ?? '', request.rejected ?? ''];
  return JSON.stringify([session.handle.ref, request.key, ...how]);
}
