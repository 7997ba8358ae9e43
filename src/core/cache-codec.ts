import type { CachedToken, RefreshToken, Refusal, TokenCache } from './token-cache.ts';

const VERSION = 1;

/** The serialized form of a token cache. */
export function encodeCache(cache: TokenCache): string {
  return JSON.stringify({ v: VERSION, ...cache });
}

/** Undefined for anything that this version did not write: an unreadable cache is an absent one. */
export function decodeCache(text: string): TokenCache | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value.v !== VERSION) return undefined;
  const { v: _version, ...cache } = value;
  return isCache(cache) ? cache : undefined;
}

function isCache(value: Record<string, unknown>): value is Record<string, unknown> & TokenCache {
  return (
    isRecord(value.account) &&
    typeof value.account.issuer === 'string' &&
    typeof value.account.subject === 'string' &&
    isOptional(value.idToken, 'string') &&
    isArrayOf(value.refreshTokens, isRefreshToken) &&
    isArrayOf(value.accessTokens, isCachedToken) &&
    isArrayOf(value.refusals, isRefusal)
  );
}

function isRefreshToken(value: unknown): value is RefreshToken {
  return (
    isRecord(value) &&
    typeof value.token === 'string' &&
    isArrayOf(value.resources, isString) &&
    isOptional(value.audience, 'string') &&
    isOptional(value.expiresAt, 'number')
  );
}

function isCachedToken(value: unknown): value is CachedToken {
  return (
    isRecord(value) &&
    typeof value.accessToken === 'string' &&
    typeof value.tokenType === 'string' &&
    isArrayOf(value.scopes, isString) &&
    isArrayOf(value.asked, isString) &&
    isTarget(value) &&
    [value.cachedAt, value.expiresAt, value.refreshAt].every((time) => Number.isFinite(time))
  );
}

function isRefusal(value: unknown): value is Refusal {
  return (
    isRecord(value) &&
    isArrayOf(value.scopes, isString) &&
    isTarget(value) &&
    ['refused', 'asked', 'denied'].includes(value.state as string)
  );
}

function isTarget(value: Record<string, unknown>): boolean {
  return isOptional(value.resource, 'string') && isOptional(value.audience, 'string');
}

function isOptional(value: unknown, type: 'string' | 'number'): boolean {
  return value === undefined || typeof value === type;
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

function isArrayOf<T>(value: unknown, isElement: (element: unknown) => element is T): value is T[] {
  return Array.isArray(value) && value.every(isElement);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
