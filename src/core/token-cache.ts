import { includesAll, type ScopeSet, without } from './scopes.ts';
import type { NormalizedRequest, Target } from './token-request.ts';

/** Who the tokens belong to. */
export interface Account {
  readonly issuer: string;
  readonly subject: string;
  readonly username?: string;
  readonly name?: string;
}

/** One access token, as the cache keeps it. All times are epoch seconds. */
export interface CachedToken extends Target {
  readonly accessToken: string;
  readonly tokenType: string;
  /** What the provider granted. */
  readonly scopes: ScopeSet;
  /** Scope sets, joined by spaces, that this token was the provider's answer to. */
  readonly asked: readonly string[];
  readonly cachedAt: number;
  readonly expiresAt: number;
  /** From here on it is renewed in the background. */
  readonly refreshAt: number;
}

export interface RefreshToken {
  readonly token: string;
  /** The resources it was issued for; empty where none was named. */
  readonly resources: readonly string[];
  /** The audience it was issued for, where the login named one. */
  readonly audience?: string | undefined;
  readonly expiresAt?: number | undefined;
}

/**
 * Scopes that the token endpoint refused.
 *
 * `refused`: the user has not been asked yet. `asked`: a login that asked for them succeeded.
 * `denied`: they were still missing afterwards.
 */
export interface Refusal extends Target {
  readonly scopes: ScopeSet;
  readonly state: 'refused' | 'asked' | 'denied';
}

/** All token sets of one account in one session. A value: every change makes a new one. */
export interface TokenCache {
  readonly account: Account;
  readonly idToken?: string | undefined;
  readonly refreshTokens: readonly RefreshToken[];
  /** In the order they were stored, the newest last. */
  readonly accessTokens: readonly CachedToken[];
  readonly refusals: readonly Refusal[];
}

export interface CacheLimits {
  readonly maxTokens: number;
  readonly maxBytes: number;
}

const MAX_ASKED = 8;
const MAX_REFUSALS = 32;

export function emptyCache(account: Account): TokenCache {
  return { account, refreshTokens: [], accessTokens: [], refusals: [] };
}

export function sameTarget(a: Target, b: Target): boolean {
  return a.resource === b.resource && a.audience === b.audience;
}

/** Access tokens that answer this request, expired ones included, the longest-lived first; of equals the newest. */
export function findTokens(cache: TokenCache, request: NormalizedRequest): CachedToken[] {
  const asked = request.scopes.join(' ');
  return cache.accessTokens
    .filter((token) => sameTarget(token, request))
    .filter((token) => includesAll(token.scopes, request.scopes) || token.asked.includes(asked))
    .reverse()
    .sort((a, b) => b.expiresAt - a.expiresAt);
}

/**
 * Adds an access token. It replaces those it covers: same target, no other scopes.
 *
 * It also answers what the replaced ones were asked for, so that a provider that grants less than two different
 * requests ask does not have them replace each other for ever.
 */
export function putToken(cache: TokenCache, token: CachedToken, now: number): TokenCache {
  const covered = cache.accessTokens.filter(
    (old) => sameTarget(old, token) && includesAll(token.scopes, old.scopes),
  );
  const inherited = covered.flatMap((old) => old.asked);
  const asked = [...new Set([...token.asked, ...inherited])].slice(0, MAX_ASKED);
  const kept = cache.accessTokens.filter((old) => !covered.includes(old) && old.expiresAt > now);
  const refusals = cache.refusals.filter(
    (refusal) => !(sameTarget(refusal, token) && includesAll(token.scopes, refusal.scopes)),
  );
  return { ...cache, accessTokens: [...kept, { ...token, asked }], refusals };
}

/** Drops expired access tokens, then the least recently stored ones, until the cache is within its limits. */
export function evict(
  cache: TokenCache,
  now: number,
  limits: CacheLimits,
  sizeOf: (token: CachedToken) => number,
): TokenCache {
  const alive = cache.accessTokens.filter((token) => token.expiresAt > now);
  let count = 0;
  let bytes = 0;
  const kept: CachedToken[] = [];
  for (const token of alive.toReversed()) {
    count += 1;
    bytes += sizeOf(token);
    if (count > limits.maxTokens || bytes > limits.maxBytes) break;
    kept.unshift(token);
  }
  return { ...cache, accessTokens: kept };
}

/**
 * The refresh token for a target: of those issued for its resource, the newest for its audience, else the newest.
 *
 * A provider refuses a resource that the refresh token was not issued for (RFC 8707 §2.2), some only after they have
 * rotated it. Audiences have no such rule: some providers derive one from another's.
 */
export function findRefreshToken(
  cache: TokenCache,
  { resource, audience }: Target,
): RefreshToken | undefined {
  const covering = cache.refreshTokens.filter(
    (entry) => resource === undefined || entry.resources.includes(resource),
  );
  return covering.findLast((entry) => entry.audience === audience) ?? covering.at(-1);
}

/** Puts the rotated token in the place of the one that was spent: for each target, where one serves several. */
export function rotateRefreshToken(cache: TokenCache, spent: string, next: RefreshToken): TokenCache {
  const refreshTokens = cache.refreshTokens.map((entry) =>
    entry.token === spent ? { ...next, resources: entry.resources, audience: entry.audience } : entry,
  );
  return { ...cache, refreshTokens };
}

/**
 * Adds the refresh token of a login. It replaces those of its audience whose resources it was issued for too.
 *
 * Where a provider takes a single target, the tokens for the others stay.
 */
export function addRefreshToken(cache: TokenCache, next: RefreshToken): TokenCache {
  const isReplaced = (entry: RefreshToken) =>
    entry.audience === next.audience && includesAll(next.resources, entry.resources);
  return { ...cache, refreshTokens: [...cache.refreshTokens.filter((entry) => !isReplaced(entry)), next] };
}

export function dropRefreshToken(cache: TokenCache, token: string): TokenCache {
  return { ...cache, refreshTokens: cache.refreshTokens.filter((entry) => entry.token !== token) };
}

/** Everything granted so far, for the scope of the next authorization request. */
export function allGrantedScopes(cache: TokenCache): ScopeSet {
  return [...new Set(cache.accessTokens.flatMap((token) => token.scopes))].sort();
}

export function allResources(cache: TokenCache): string[] {
  const named = cache.accessTokens.flatMap((token) => (token.resource === undefined ? [] : [token.resource]));
  return [...new Set([...cache.refreshTokens.flatMap((entry) => entry.resources), ...named])];
}

/** The refusal that stands in the way of this request, if any. */
export function findRefusal(cache: TokenCache, request: NormalizedRequest): Refusal | undefined {
  const relevant = cache.refusals.filter(
    (refusal) => sameTarget(refusal, request) && includesAll(request.scopes, refusal.scopes),
  );
  return (
    relevant.find((refusal) => refusal.state === 'denied') ??
    relevant.find((refusal) => refusal.state === 'refused')
  );
}

/** Remembers that the token endpoint refused this request: once more after a login that asked, it is denied. */
export function recordRefusal(cache: TokenCache, request: NormalizedRequest): TokenCache {
  // A refusal of nothing in particular would stand in the way of everything.
  if (request.scopes.length === 0 && request.resource === undefined && request.audience === undefined)
    return cache;
  const granted = cache.accessTokens
    .filter((token) => sameTarget(token, request))
    .flatMap((token) => token.scopes);
  const missing = without(request.scopes, granted);
  const scopes = missing.length > 0 ? missing : request.scopes;
  const isSame = (refusal: Refusal) =>
    sameTarget(refusal, request) && refusal.scopes.join(' ') === scopes.join(' ');
  const earlier = cache.refusals.find(isSame);
  const state = earlier === undefined || earlier.state === 'refused' ? 'refused' : 'denied';
  const others = cache.refusals.filter((refusal) => !isSame(refusal));
  const refusal: Refusal = { resource: request.resource, audience: request.audience, scopes, state };
  return { ...cache, refusals: [...others, refusal].slice(-MAX_REFUSALS) };
}

/**
 * What a successful login that asked for `asked` means for the refusals: those it asked for were asked now,
 * and denied where the answer names its scopes and theirs are not among them.
 *
 * After a challenge the others stay; a login of its own (`isNewStart`) lifts them. What the app asks for by
 * `res.oidc.login()` after a refusal is settled by it, or the two would take turns for ever.
 */
export function settleRefusals(
  cache: TokenCache,
  login: {
    asked: ScopeSet;
    resources: readonly string[];
    target: Target;
    granted: ScopeSet;
    isNewStart: boolean;
  },
): TokenCache {
  const refusals = cache.refusals.flatMap((refusal): Refusal[] => {
    const resourceAsked = refusal.resource === undefined || login.resources.includes(refusal.resource);
    if (refusal.state === 'denied' || !resourceAsked || !includesAll(login.asked, refusal.scopes))
      return login.isNewStart ? [] : [refusal];
    const lacks = sameTarget(refusal, login.target) && !includesAll(login.granted, refusal.scopes);
    return [{ ...refusal, state: lacks ? 'denied' : 'asked' }];
  });
  return { ...cache, refusals };
}
