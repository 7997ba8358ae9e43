import { parseScopes, type ScopeSet, scopeSet, withoutOpenIdScopes } from './scopes.ts';

/** What `req.getToken()` takes. A string means `{ scopes }`, or a name from the option `resources`. */
export interface TokenRequest {
  /** Separated by spaces, or an array. Left out: the login's own scopes. */
  scopes?: string | readonly string[] | undefined;
  /** An absolute URI without fragment (RFC 8707 §2). */
  resource?: string | undefined;
  /** The API's name at providers that use `audience` instead of `resource`. */
  audience?: string | undefined;
  /** Asks the provider also when a cached token is good. */
  forceRefresh?: boolean | undefined;
  /** A claims challenge: a JSON object, or its text (OpenID Connect Core §5.5). Skips the cache. */
  claims?: string | Readonly<Record<string, unknown>> | undefined;
  /** Space-separated authentication context classes, one of which the login must have (RFC 9470 §4). */
  acrValues?: string | readonly string[] | undefined;
  /** The login may be at most this many seconds old. */
  maxAge?: number | undefined;
  /** An access token that an API refused. Exactly this one is not served again. */
  rejected?: string | undefined;
}

/** Scopes, a name from the option `resources`, or a request. */
export type TokenRequestInput = string | readonly string[] | TokenRequest;

/** A request in the one form that the rules work with. */
export interface NormalizedRequest {
  readonly scopes: ScopeSet;
  readonly resource: string | undefined;
  readonly audience: string | undefined;
  readonly forceRefresh: boolean;
  readonly claims: string | undefined;
  readonly acrValues: string | undefined;
  readonly maxAge: number | undefined;
  readonly rejected: string | undefined;
  /** Equal for requests that any one token answers alike. */
  readonly key: string;
}

/** Where a token is meant to be used: for this resource, this audience, or what the login itself is for. */
export interface Target {
  readonly resource?: string | undefined;
  readonly audience?: string | undefined;
}

/** What a request means where it says nothing, and the names it may use. */
export interface RequestDefaults {
  readonly scopes: ScopeSet;
  readonly target: Target;
  readonly resources: Readonly<Record<string, Target & { readonly scopes: ScopeSet }>>;
}

const FIELDS = [
  'scopes',
  'resource',
  'audience',
  'forceRefresh',
  'claims',
  'acrValues',
  'maxAge',
  'rejected',
];

/**
 * @throws {TypeError} that names the field and what it must be.
 */
export function normalizeRequest(
  input: TokenRequestInput | undefined,
  defaults: RequestDefaults,
): NormalizedRequest {
  if (typeof input === 'string' && Object.hasOwn(defaults.resources, input)) {
    return fromFields({ ...defaults.resources[input] } as TokenRequest, defaults);
  }
  if (typeof input === 'string' || Array.isArray(input)) return fromFields({ scopes: input }, defaults);
  if (input === undefined) return fromFields({}, defaults);
  if (typeof input !== 'object' || input === null) {
    throw new TypeError(
      'getToken() takes scopes (a string or an array) or a request object such as { scopes, resource }',
    );
  }
  return fromFields(input as TokenRequest, defaults);
}

function fromFields(request: TokenRequest, defaults: RequestDefaults): NormalizedRequest {
  const unknown = Object.keys(request).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined) {
    throw new TypeError(
      `a token request has no field ${JSON.stringify(unknown)}; it takes ${FIELDS.join(', ')}`,
    );
  }
  const own = request.resource === undefined && request.audience === undefined;
  const target = own ? defaults.target : request;
  const scopes =
    request.scopes !== undefined ? parseScopes(request.scopes) : own ? defaults.scopes : ([] as ScopeSet);
  const fields = {
    scopes: withoutOpenIdScopes(scopes),
    resource: target.resource === undefined ? undefined : parseResource(target.resource),
    audience: optionalString(target.audience, 'audience'),
    forceRefresh: optionalBoolean(request.forceRefresh, 'forceRefresh') ?? false,
    claims: parseClaims(request.claims),
    acrValues: request.acrValues === undefined ? undefined : parseAcrValues(request.acrValues),
    maxAge: parseMaxAge(request.maxAge),
    rejected: optionalString(request.rejected, 'rejected'),
  };
  return { ...fields, key: requestKey(fields) };
}

/** Whether the provider is asked also when a cached token is good. */
export function skipsCache({ forceRefresh, claims }: NormalizedRequest): boolean {
  return forceRefresh || claims !== undefined;
}

/**
 * The login's own token for calling the userinfo endpoint: the one kind of request in which `openid` counts. Providers
 * that use `audience` take the token for the login's; one for a resource (RFC 8707) is for nothing else.
 */
export function userInfoRequest({ audience }: Target): NormalizedRequest {
  const fields = { scopes: ['openid'], resource: undefined, audience };
  return {
    ...fields,
    forceRefresh: false,
    claims: undefined,
    acrValues: undefined,
    maxAge: undefined,
    rejected: undefined,
    key: requestKey(fields),
  };
}

/** The same request for more scopes. */
export function withScopes(request: NormalizedRequest, more: readonly string[]): NormalizedRequest {
  const scopes = withoutOpenIdScopes(scopeSet([...request.scopes, ...more]));
  return { ...request, scopes, key: requestKey({ ...request, scopes }) };
}

function requestKey(fields: Target & { scopes: ScopeSet }): string {
  return JSON.stringify([fields.resource ?? null, fields.audience ?? null, fields.scopes.join(' ')]);
}

/** @throws {TypeError} when it is not an absolute URI without a fragment (RFC 8707 §2). */
export function parseResource(value: unknown, name = 'resource'): string {
  if (typeof value !== 'string' || !URL.canParse(value) || value.includes('#')) {
    throw new TypeError(
      `${name} must be an absolute URI without a fragment (RFC 8707 section 2), such as https://api.example`,
    );
  }
  return value;
}

function optionalString(value: unknown, name: string): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '') throw new TypeError(`${name} must be a non-empty string`);
  return value;
}

function optionalBoolean(value: unknown, name: string): boolean | undefined {
  if (value !== undefined && typeof value !== 'boolean') throw new TypeError(`${name} must be true or false`);
  return value;
}

export function parseMaxAge(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw new TypeError('maxAge must be a whole number of seconds, 0 or more');
  }
  return value;
}

export function parseAcrValues(value: unknown): string {
  const words = typeof value === 'string' ? value.split(' ') : value;
  if (
    !Array.isArray(words) ||
    words.length === 0 ||
    words.some((word) => typeof word !== 'string' || word === '')
  ) {
    throw new TypeError('acrValues must be a string separated by spaces or an array of strings');
  }
  return words.join(' ');
}

/** The text of a claims request; an object that says the same gives the same text. */
export function parseClaims(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  let parsed: unknown = value;
  if (typeof value === 'string') {
    try {
      parsed = JSON.parse(value);
    } catch {
      parsed = undefined;
    }
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new TypeError('claims must be a JSON object or its text (OpenID Connect Core section 5.5)');
  }
  return JSON.stringify(parsed);
}
