/** A set of scopes: sorted, without doubles, case-sensitive (RFC 6749 §3.3). */
export type ScopeSet = readonly string[];

/** Scopes that steer the login itself; they never count when an access token is looked for. */
const OPENID_SCOPES: ReadonlySet<string> = new Set(['openid', 'profile', 'email', 'offline_access']);

/** scope-token of RFC 6749 §3.3. */
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

/**
 * Reads scopes as people write them: a string separated by spaces, or an array.
 *
 * @throws {TypeError} for anything else, and for characters that RFC 6749 §3.3 does not allow.
 */
export function parseScopes(input: unknown, name = 'scopes'): ScopeSet {
  const words = typeof input === 'string' ? [input] : input;
  if (!Array.isArray(words) || words.some((word) => typeof word !== 'string')) {
    throw new TypeError(`${name} must be a string separated by spaces or an array of strings`);
  }
  const tokens = (words as string[]).flatMap((word) => word.split(' ')).filter((word) => word !== '');
  const wrong = tokens.find((token) => !isScope(token));
  if (wrong !== undefined) {
    throw new TypeError(
      `${name} holds ${JSON.stringify(wrong)}, which is not a scope (RFC 6749 section 3.3)`,
    );
  }
  return scopeSet(tokens);
}

/** Whether a word is a scope (RFC 6749 §3.3). */
export function isScope(word: string): boolean {
  return SCOPE_TOKEN.test(word);
}

export function scopeSet(tokens: Iterable<string>): ScopeSet {
  return [...new Set(tokens)].sort();
}

export function withoutOpenIdScopes(scopes: ScopeSet): ScopeSet {
  return scopes.filter((scope) => !OPENID_SCOPES.has(scope));
}

export function includesAll(all: ScopeSet, some: ScopeSet): boolean {
  return some.every((scope) => all.includes(scope));
}

export function without(all: ScopeSet, some: ScopeSet): ScopeSet {
  return all.filter((scope) => !some.includes(scope));
}

/**
 * The scopes a token answer grants: its `scope`, or what was asked when it says nothing (RFC 6749 §5.1). LinkedIn and
 * others separate them by commas; a comma inside a scope that was asked for is its own.
 */
export function grantedScopes(scope: string | undefined, asked: ScopeSet): ScopeSet {
  if (scope === undefined) return asked;
  const words = scope.split(/\s+/).flatMap((word) => (asked.includes(word) ? word : word.split(',')));
  return scopeSet(words.filter(isScope));
}
