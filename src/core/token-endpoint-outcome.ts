/** What is known of a token endpoint request that did not end in tokens. */
export interface TokenEndpointFailure {
  /**
   * How far it came: `not_sent` (refused, DNS, connect timeout), `no_answer` (reset, timeout, body cut), `answered`.
   */
  readonly transport: 'not_sent' | 'no_answer' | 'answered';
  readonly status?: number;
  /** RFC 6749 §5.2; undefined when the body was not a JSON object with an `error`. */
  readonly error?: string;
  readonly suberror?: string;
  /** `error_description`, without the secrets that were sent; for a log, or for the user of a login. */
  readonly description?: string;
  /** JSON text of a claims challenge. */
  readonly claims?: string;
  /** Seconds, from the `Retry-After` header. */
  readonly retryAfter?: number;
  /** An answer with tokens that was refused: its ID token is wrong, its keys cannot be had. */
  readonly refused?:
    | 'invalid_id_token'
    | 'other_subject'
    | 'other_audience'
    | 'keys_unavailable'
    | 'malformed';
  /** What was wrong with it, for a log. */
  readonly detail?: string;
}

/** What a failure means. */
export type Outcome =
  /** The refresh token is dead. */
  | { kind: 'rejected' }
  /** The provider wants the user. */
  | { kind: 'interaction'; claims: string | undefined }
  /** These scopes or this resource are not for this refresh token. */
  | { kind: 'scope_refused' }
  /** The client's registration or secret is wrong. */
  | { kind: 'configuration'; error: string; description?: string | undefined }
  /** The provider asks for patience; nothing was consumed. */
  | { kind: 'throttled'; retryAfter: number | undefined }
  /** Never reached the provider. */
  | { kind: 'not_sent' }
  /** The refresh token may have been consumed. */
  | { kind: 'ambiguous' }
  /** Tokens came and cannot be used. */
  | { kind: 'unusable'; because: string }
  /** Another error of the protocol; asking again would give the same. */
  | { kind: 'failed'; error: string };

const INTERACTION: ReadonlySet<string> = new Set([
  'interaction_required',
  'login_required',
  'consent_required',
  'account_selection_required',
  'mfa_required',
  'insufficient_user_authentication',
]);

/** `suberror` values that Microsoft Entra sends with `invalid_grant`, beside the ones above. */
const INTERACTION_SUBERRORS: ReadonlySet<string> = new Set([
  ...INTERACTION,
  'basic_action',
  'additional_action',
  'message_only',
]);

const CONFIGURATION: ReadonlySet<string> = new Set([
  'invalid_client',
  'unauthorized_client',
  'unsupported_grant_type',
]);
const SCOPE: ReadonlySet<string> = new Set(['invalid_scope', 'invalid_target']);
const THROTTLED: ReadonlySet<string> = new Set(['temporarily_unavailable', 'slow_down']);

/** The one place that says what a failed token endpoint request means. */
export function classifyFailure(failure: TokenEndpointFailure): Outcome {
  if (failure.transport === 'not_sent') return { kind: 'not_sent' };
  if (failure.transport === 'no_answer') return { kind: 'ambiguous' };
  if (failure.refused === 'malformed') return { kind: 'ambiguous' };
  if (failure.refused === 'other_audience') return { kind: 'scope_refused' };
  if (failure.refused !== undefined) return { kind: 'unusable', because: failure.refused };
  const { status = 0, error = '' } = failure;
  if (status === 429 || status === 503 || THROTTLED.has(error))
    return { kind: 'throttled', retryAfter: failure.retryAfter };
  if (INTERACTION.has(error) || INTERACTION_SUBERRORS.has(failure.suberror ?? '')) {
    return { kind: 'interaction', claims: failure.claims };
  }
  // Some send what went wrong on their side with 400, as they do every error.
  if (status >= 500 || error === 'server_error') return { kind: 'ambiguous' };
  if (error === 'invalid_grant') return { kind: 'rejected' };
  if (SCOPE.has(error)) return { kind: 'scope_refused' };
  if (CONFIGURATION.has(error) || status === 401)
    return { kind: 'configuration', error: error || 'invalid_client', description: failure.description };
  if (error === '') return { kind: 'ambiguous' };
  return { kind: 'failed', error };
}

/** How often the same request may be sent once more at once. */
export function retriesFor(outcome: Outcome): number {
  if (outcome.kind === 'not_sent') return 2;
  if (outcome.kind === 'ambiguous') return 1;
  return 0;
}

/** Seconds from a `Retry-After` header: a number or a date (RFC 9110 §10.2.3). */
export function parseRetryAfter(value: string | null, now: number): number | undefined {
  if (value === null) return undefined;
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, Math.ceil(date / 1000 - now));
}
