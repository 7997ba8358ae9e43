import { softExpiry } from '../core/decide.ts';
import { grantedScopes, type ScopeSet } from '../core/scopes.ts';
import type { TokenAnswer } from '../core/token-answer.ts';
import type { CachedToken, RefreshToken } from '../core/token-cache.ts';
import type { Target } from '../core/token-request.ts';

interface Asked {
  readonly scopes: ScopeSet;
  /** The requests that this token is the provider's answer to. */
  readonly askedFor: readonly ScopeSet[];
  readonly target: Target;
}

/** The access token of an answer as the cache keeps it. `random` is between 0 and 1. */
export function cachedToken(
  answer: TokenAnswer,
  asked: Asked,
  now: number,
  random: number,
  defaultLifetime: number,
): CachedToken {
  const lifetime = answer.expiresIn ?? defaultLifetime;
  return {
    accessToken: answer.accessToken,
    tokenType: answer.tokenType,
    scopes: grantedScopes(answer.scope, asked.scopes),
    asked: asked.askedFor.map((scopes) => scopes.join(' ')),
    resource: asked.target.resource,
    audience: asked.target.audience,
    cachedAt: now,
    expiresAt: Math.floor(now + lifetime),
    refreshAt: softExpiry(now, lifetime, random, answer.refreshIn),
  };
}

export function refreshTokenOf(
  answer: TokenAnswer,
  { resources, audience }: Pick<RefreshToken, 'resources' | 'audience'>,
  now: number,
): RefreshToken | undefined {
  if (answer.refreshToken === undefined) return undefined;
  const expiresAt = answer.refreshExpiresIn === undefined ? undefined : now + answer.refreshExpiresIn;
  return { token: answer.refreshToken, resources, audience, expiresAt };
}
