import type { InteractionReason } from './errors.ts';
import { includesAll, type ScopeSet } from './scopes.ts';
import {
  type CachedToken,
  findRefreshToken,
  findRefusal,
  findTokens,
  type RefreshToken,
  type TokenCache,
} from './token-cache.ts';
import { type NormalizedRequest, skipsCache } from './token-request.ts';

/** Why the provider is asked. */
export type RefreshReason = 'expired' | 'no_cached_token' | 'forced' | 'claims' | 'refresh_soon';

export type Decision =
  | {
      kind: 'hit';
      token: CachedToken;
      /** Past its soft expiry: what to refresh it with in the background. */
      refreshWith: RefreshToken | undefined;
    }
  | {
      kind: 'refresh';
      reason: RefreshReason;
      refreshToken: RefreshToken;
      /** Not expired yet: what to serve when the provider does not answer. */
      fallback: CachedToken | undefined;
    }
  | { kind: 'interaction'; reason: InteractionReason }
  | { kind: 'not_granted'; scopes: ScopeSet };

/** Two machines may disagree by this much; a token from further in the future means that the clock was set back. */
const CLOCK_STEP_SECONDS = 30;

const HARD_LEEWAY = { seconds: 60, share: 0.1 };
const SOFT_LEEWAY = { seconds: 300, share: 0.25, jitter: 0.2 };

/** The moment from which a token is no longer handed out without asking the provider first. */
export function hardExpiry(token: CachedToken): number {
  return (
    token.expiresAt - Math.min(HARD_LEEWAY.seconds, HARD_LEEWAY.share * (token.expiresAt - token.cachedAt))
  );
}

/** Whether a token is handed out as it is. */
export function isFresh(token: CachedToken, now: number): boolean {
  return now < hardExpiry(token) && token.cachedAt <= now + CLOCK_STEP_SECONDS;
}

/**
 * The moment from which a token is renewed in the background: the provider's `refresh_in`, else a quarter of the
 * lifetime before the end, at most five minutes, ±20 % by `random` (0 to 1) so that a fleet does not refresh at once.
 */
export function softExpiry(now: number, lifetime: number, random: number, refreshIn?: number): number {
  if (refreshIn !== undefined && refreshIn < lifetime) return now + refreshIn;
  const leeway = Math.min(SOFT_LEEWAY.seconds, SOFT_LEEWAY.share * lifetime);
  return now + lifetime - leeway * (1 + SOFT_LEEWAY.jitter * (2 * random - 1));
}

/** The whole of silent acquisition, as a value. `now` is in epoch seconds. */
export function decide(cache: TokenCache | undefined, request: NormalizedRequest, now: number): Decision {
  if (cache === undefined) return { kind: 'interaction', reason: 'no_token_cache' };
  const refusal = findRefusal(cache, request);
  // Less than was asked for is an answer, but not where it is known that the rest will never come.
  const matching = findTokens(cache, request).filter(
    (token) => refusal?.state !== 'denied' || includesAll(token.scopes, request.scopes),
  );
  const unexpired = matching.filter((token) => token.expiresAt > now);
  const servable = unexpired.filter((token) => token.accessToken !== request.rejected);
  const outdated = outdatedBy(cache, request);
  const best = servable.find((token) => !outdated.includes(token) && isFresh(token, now));
  const refreshToken = findRefreshToken(cache, request);
  const usable = refreshToken !== undefined && !isExpired(refreshToken, now) ? refreshToken : undefined;
  if (best !== undefined && !skipsCache(request)) {
    return { kind: 'hit', token: best, refreshWith: now >= best.refreshAt ? usable : undefined };
  }
  if (refusal?.state === 'denied') return { kind: 'not_granted', scopes: refusal.scopes };
  if (refusal?.state === 'refused') return { kind: 'interaction', reason: 'scope_refused' };
  if (refreshToken === undefined) return { kind: 'interaction', reason: 'no_refresh_token' };
  if (usable === undefined) return { kind: 'interaction', reason: 'refresh_token_expired' };
  return {
    kind: 'refresh',
    reason: reasonToAsk(request, matching.length > 0),
    refreshToken: usable,
    fallback: request.claims === undefined ? servable[0] : undefined,
  };
}

/**
 * Tokens older than the rejected one: what made an API refuse it may have ended them too, and each would be refused in
 * turn. Not where it merely lacked a scope.
 */
function outdatedBy({ accessTokens }: TokenCache, request: NormalizedRequest): readonly CachedToken[] {
  const index = accessTokens.findIndex((token) => token.accessToken === request.rejected);
  const rejected = accessTokens[index];
  return rejected && includesAll(rejected.scopes, request.scopes) ? accessTokens.slice(0, index) : [];
}

function isExpired(refreshToken: RefreshToken, now: number): boolean {
  return refreshToken.expiresAt !== undefined && refreshToken.expiresAt <= now;
}

/** Why the provider is asked for a token, where one was there or not. */
export function reasonToAsk(request: NormalizedRequest, wasCached: boolean): RefreshReason {
  if (request.claims !== undefined) return 'claims';
  if (request.forceRefresh || request.rejected !== undefined) return 'forced';
  return wasCached ? 'expired' : 'no_cached_token';
}
