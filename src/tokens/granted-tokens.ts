import { isFresh, reasonToAsk } from '../core/decide.ts';
import { ConfigurationError, ProviderUnavailableError } from '../core/errors.ts';
import type { BoundedCache, Clock, Logger } from '../core/ports.ts';
import type { CachedToken } from '../core/token-cache.ts';
import { type NormalizedRequest, skipsCache } from '../core/token-request.ts';
import type { GrantContext, GrantResult } from '../protocol/grants.ts';
import { Background } from './background.ts';
import { Flights, isTimedOut, within } from './flights.ts';
import type { ProviderGate } from './provider-gate.ts';
import type { Acquired } from './refresh.ts';
import { mayServeStale, shuttingDown } from './token-errors.ts';
import { cachedToken } from './token-set.ts';

export interface GrantedParts {
  readonly gate: ProviderGate;
  readonly cache: BoundedCache<CachedToken>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  readonly settings: { readonly callerTimeoutMs: number; readonly defaultLifetime: number };
}

/** One token that can be had again by the same grant, without a refresh token. */
export interface Grantable {
  readonly key: string;
  readonly request: NormalizedRequest;
  /** Epoch seconds after which no answer may be kept. */
  readonly notAfter: number;
  send(context: GrantContext): Promise<GrantResult>;
  /** What a failure is to the caller. */
  failure(result: GrantResult & { ok: false }): Error;
  /** Where other processes keep the same token. */
  readonly shared?: { read(): Promise<CachedToken | undefined>; write(token: CachedToken): Promise<void> };
}

/** Tokens of grants that need no user: cached, renewed in the background, asked for once by all who wait. */
export class GrantedTokens {
  readonly #parts: GrantedParts;
  readonly #flights = new Flights<CachedToken>();
  readonly #background: Background;
  #isClosing = false;

  constructor(parts: GrantedParts) {
    this.#parts = parts;
    this.#background = new Background(parts.clock, parts.logger);
  }

  /** Synchronous where the process has the token, so that a hit costs no more than a look. */
  fromMemory(key: string, request: NormalizedRequest): CachedToken | undefined {
    if (skipsCache(request)) return undefined;
    const token = this.#parts.cache.get(key);
    if (token === undefined || token.accessToken === request.rejected) return undefined;
    const now = this.#parts.clock.now();
    return isFresh(token, now) && now < token.refreshAt ? token : undefined;
  }

  async acquire(grantable: Grantable): Promise<Acquired> {
    const { key, request } = grantable;
    const { cache, clock } = this.#parts;
    const own = this.fromMemory(key, request);
    if (own !== undefined) return { token: own, source: 'cache' };
    const usable = skipsCache(request) ? undefined : await this.#known(grantable);
    if (usable !== undefined && isFresh(usable, clock.now())) {
      cache.set(key, usable);
      if (clock.now() >= usable.refreshAt) this.#background.start(key, () => this.#fly(grantable));
      return { token: usable, source: 'cache' };
    }
    return this.#askForCaller(grantable, usable);
  }

  /** This process's token; where that is about to end, the one that another process may have got meanwhile. */
  async #known({ key, request, shared }: Grantable): Promise<CachedToken | undefined> {
    const { cache, clock } = this.#parts;
    const own = this.#usable(cache.get(key), request);
    if (shared === undefined || (own !== undefined && isFresh(own, clock.now()))) return own;
    const other = this.#usable(await shared.read().catch(() => undefined), request);
    // While this was waiting, a flight may have landed.
    const newest = this.#usable(cache.get(key), request);
    return other !== undefined && (newest === undefined || other.expiresAt > newest.expiresAt)
      ? other
      : newest;
  }

  #usable(token: CachedToken | undefined, request: NormalizedRequest): CachedToken | undefined {
    if (token === undefined || token.accessToken === request.rejected) return undefined;
    return this.#parts.clock.now() < token.expiresAt ? token : undefined;
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#flights.landed();
  }

  async #askForCaller(grantable: Grantable, fallback: CachedToken | undefined): Promise<Acquired> {
    const { request } = grantable;
    try {
      const token = await within(this.#fly(grantable), this.#parts.settings.callerTimeoutMs);
      if (isTimedOut(token))
        throw new ProviderUnavailableError('The provider takes too long to issue the token.');
      return { token, source: 'provider', reason: reasonToAsk(request, fallback !== undefined) };
    } catch (error) {
      if (!mayServeStale(fallback, error, this.#parts.clock.now())) throw error;
      const { name, message } = error as Error;
      this.#parts.logger[error instanceof ConfigurationError ? 'error' : 'warn'](
        'A token about to expire is served, because the provider gave no other',
        { error: name, message },
      );
      return { token: fallback, source: 'cache', stale: true };
    }
  }

  #fly(grantable: Grantable): Promise<CachedToken> {
    const { forceRefresh, claims = '', rejected = '' } = grantable.request;
    const flight = JSON.stringify([grantable.key, forceRefresh, claims, rejected]);
    return this.#flights.join(flight, () =>
      this.#isClosing ? Promise.reject(shuttingDown()) : this.#grant(grantable),
    );
  }

  async #grant(grantable: Grantable): Promise<CachedToken> {
    const { gate, cache, clock, random, settings } = this.#parts;
    const { request, key, notAfter } = grantable;
    const result = await gate.ask((context) => grantable.send(context));
    if (!result.ok) throw grantable.failure(result);
    const asked = { scopes: request.scopes, askedFor: [request.scopes], target: request };
    const token = cachedToken(result.answer, asked, clock.now(), random(), settings.defaultLifetime);
    const bounded = {
      ...token,
      expiresAt: Math.min(token.expiresAt, notAfter),
      refreshAt: Math.min(token.refreshAt, notAfter),
    };
    cache.set(key, bounded);
    await grantable.shared?.write(bounded).catch(() => undefined);
    return bounded;
  }
}
