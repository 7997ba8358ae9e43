/** Every error of this package has one of these codes; `docs/errors.md` has a section for each. */
export type ErrorCode =
  | 'ERR_OIDC_CONFIGURATION'
  | 'ERR_OIDC_INTERACTION_REQUIRED'
  | 'ERR_OIDC_LOGIN_FAILED'
  | 'ERR_OIDC_LOGIN_LOOP'
  | 'ERR_OIDC_SCOPE_NOT_GRANTED'
  | 'ERR_OIDC_CLAIM_MISMATCH'
  | 'ERR_OIDC_TOKEN_ENDPOINT'
  | 'ERR_OIDC_PROVIDER_UNAVAILABLE'
  | 'ERR_OIDC_STORE_UNAVAILABLE'
  | 'ERR_OIDC_BEARER_TOKEN'
  | 'ERR_OIDC_LOGOUT_TOKEN';

interface ErrorInit {
  code: ErrorCode;
  status: number;
  headers?: Record<string, string>;
  cause?: unknown;
}

/**
 * The base of all errors of this package.
 *
 * `status` and `headers` are honoured by Express's default error handler. Neither the message, nor the cause,
 * nor the JSON form ever holds a token, a code, a secret or a verifier.
 */
export class OidcTokensError extends Error {
  /** It does not change between versions, as a message may. */
  readonly code: ErrorCode;
  /** Of the HTTP answer. */
  readonly status: number;
  /** More headers for that answer. */
  declare readonly headers?: Record<string, string>;

  constructor(message: string, init: ErrorInit) {
    super(message, init.cause === undefined ? undefined : { cause: withoutSecrets(init.cause) });
    this.name = new.target.name;
    this.code = init.code;
    this.status = init.status;
    if (init.headers) this.headers = init.headers;
  }

  toJSON(): object {
    return { error: this.code, message: this.message, status: this.status };
  }
}

/** The app or its registration at the provider is set up wrongly; a person has to change something. */
export class ConfigurationError extends OidcTokensError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'ERR_OIDC_CONFIGURATION', status: 500, cause });
  }
}

/** Why only the user can help. */
export type InteractionReason =
  | 'signed_out'
  | 'no_token_cache'
  | 'no_refresh_token'
  | 'refresh_token_expired'
  | 'refresh_token_rejected'
  | 'scope_refused'
  | 'step_up'
  | 'provider_asked';

export interface InteractionDetails {
  reason: InteractionReason;
  scopes: readonly string[];
  resource?: string | undefined;
  audience?: string | undefined;
  /** JSON text for the `claims` parameter (OpenID Connect Core §5.5). */
  claims?: string | undefined;
  acrValues?: string | undefined;
  maxAge?: number | undefined;
}

/**
 * Only the user can help: sign in, consent, or prove more.
 *
 * It is a signal rather than a fault, so its `stack` is one line.
 */
export class InteractionRequiredError extends OidcTokensError {
  readonly reason: InteractionReason;
  readonly scopes: readonly string[];
  readonly resource: string | undefined;
  readonly audience: string | undefined;
  readonly claims: string | undefined;
  readonly acrValues: string | undefined;
  readonly maxAge: number | undefined;

  constructor(details: InteractionDetails) {
    const asked = details.scopes.length > 0 ? ` for ${details.scopes.join(' ')}` : '';
    super(
      `Interaction required${asked} (${details.reason}): send the user to the provider. ` +
        'req.getToken() does that by itself; after req.getTokenSilent() call res.oidc.login().',
      { code: 'ERR_OIDC_INTERACTION_REQUIRED', status: 401 },
    );
    this.reason = details.reason;
    this.scopes = details.scopes;
    this.resource = details.resource;
    this.audience = details.audience;
    this.claims = details.claims;
    this.acrValues = details.acrValues;
    this.maxAge = details.maxAge;
    this.stack = `${this.name}: ${this.message}`;
  }
}

/** A login that did not succeed. `error` and `errorDescription` are the provider's, made safe for HTML. */
export class LoginError extends OidcTokensError {
  readonly error: string;
  readonly errorDescription: string | undefined;

  constructor(
    message: string,
    init: { error: string; errorDescription?: string | undefined; cause?: unknown; loop?: true },
  ) {
    super(message, {
      code: init.loop ? 'ERR_OIDC_LOGIN_LOOP' : 'ERR_OIDC_LOGIN_FAILED',
      status: 400,
      cause: init.cause,
    });
    this.error = safeText(init.error, 80);
    this.errorDescription =
      init.errorDescription === undefined ? undefined : safeText(init.errorDescription, 300);
  }
}

/** The user signed in, and the provider still does not grant these scopes. Another redirect would not help. */
export class ScopeNotGrantedError extends OidcTokensError {
  readonly scopes: readonly string[];

  constructor(scopes: readonly string[]) {
    super(
      `The provider does not grant ${scopes.join(' ') || 'this resource'} to this user and client. ` +
        "Check the client's allowed scopes at the provider; a new login asks again.",
      { code: 'ERR_OIDC_SCOPE_NOT_GRANTED', status: 403 },
    );
    this.scopes = scopes;
  }
}

/** The signed-in user's ID token does not hold what the route asks for. */
export class ClaimMismatchError extends OidcTokensError {
  constructor(message: string) {
    super(message, { code: 'ERR_OIDC_CLAIM_MISMATCH', status: 403 });
  }
}

/** The provider answered with something that cannot be used; `error` is its error code, where it named one. */
export class TokenEndpointError extends OidcTokensError {
  readonly error: string | undefined;

  constructor(message: string, init: { error?: string; cause?: unknown } = {}) {
    super(message, { code: 'ERR_OIDC_TOKEN_ENDPOINT', status: 502, cause: init.cause });
    this.error = init.error === undefined ? undefined : safeText(init.error, 80);
  }
}

const DEFAULT_RETRY_AFTER = 5;

/** The provider cannot be reached or asks for patience. `retryAfter` is in seconds, also as a `Retry-After` header. */
export class ProviderUnavailableError extends OidcTokensError {
  readonly retryAfter: number;

  constructor(message: string, retryAfter: number = DEFAULT_RETRY_AFTER, cause?: unknown) {
    const seconds = Math.max(1, Math.ceil(retryAfter));
    super(message, {
      code: 'ERR_OIDC_PROVIDER_UNAVAILABLE',
      status: 503,
      headers: { 'Retry-After': String(seconds) },
      cause,
    });
    this.retryAfter = seconds;
  }
}

/** The session store did not answer. */
export class StoreUnavailableError extends OidcTokensError {
  constructor(message: string, cause?: unknown) {
    super(message, {
      code: 'ERR_OIDC_STORE_UNAVAILABLE',
      status: 503,
      headers: { 'Retry-After': String(DEFAULT_RETRY_AFTER) },
      cause,
    });
  }
}

/**
 * An API does not take the access token of a request (RFC 6750 §3). `headers` holds the `WWW-Authenticate` that says
 * why; `error` is its code, undefined where there was no token at all.
 */
export class BearerTokenError extends OidcTokensError {
  readonly error: string | undefined;

  constructor(
    message: string,
    init: { status: 400 | 401 | 403; error?: string; challenge: string; cause?: unknown },
  ) {
    super(message, {
      code: 'ERR_OIDC_BEARER_TOKEN',
      status: init.status,
      headers: { 'WWW-Authenticate': init.challenge },
      cause: init.cause,
    });
    this.error = init.error;
  }
}

/** A logout that the provider asked for and that is not to be believed. */
export class LogoutTokenError extends OidcTokensError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'ERR_OIDC_LOGOUT_TOKEN', status: 400, cause });
  }
}

/** Text of a stranger: printable, without the characters that mean something in HTML, cut to `length`. */
export function safeText(text: string, length: number): string {
  return text
    .replace(/[^\p{L}\p{N}\p{P}\p{S}\p{Zs}]/gu, ' ')
    .replace(/[<>&"'`]/g, '')
    .slice(0, length);
}

/**
 * A copy of an error's class, code and message, down its chain of causes.
 *
 * Errors of libraries carry the answer they refused, tokens included, and `JSON.parse` quotes its input;
 * `console.error(error)` would print both.
 */
function withoutSecrets(cause: unknown, depth = 0): Error | undefined {
  if (cause instanceof OidcTokensError) return cause;
  if (typeof cause !== 'object' || cause === null || depth > 4) return undefined;
  const {
    name,
    message,
    code,
    cause: inner,
  } = cause as { name?: unknown; message?: unknown; code?: unknown; cause?: unknown };
  if (typeof message !== 'string') return undefined;
  const copy = new Error(name === 'SyntaxError' ? 'a text could not be parsed' : message);
  copy.name = String(name);
  copy.stack = `${copy.name}: ${copy.message}`;
  const deeper = withoutSecrets(inner, depth + 1);
  if (deeper !== undefined) copy.cause = deeper;
  if (typeof code === 'string') Object.assign(copy, { code });
  return copy;
}
