import { isScope } from './scopes.ts';
import { type NormalizedRequest, withScopes } from './token-request.ts';

/** How an API refused a call. */
export interface ApiRefusal {
  readonly status: number;
  /** Of the Bearer challenge in its `WWW-Authenticate`. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Its claims challenge, as JSON text. */
  readonly claims: string | undefined;
}

/**
 * The token to ask for instead. `better`: the API said what it wants; `rejected`: only that it does not take this one.
 */
export interface Remedy {
  readonly kind: 'better' | 'rejected';
  readonly request: NormalizedRequest;
}

/**
 * What helps against a refusal of `accessToken`, by the API's own words (RFC 6750 §3.1, RFC 9470 §3, claims
 * challenges). Undefined: no other token does.
 */
export function remedyFor(
  { status, parameters, claims }: ApiRefusal,
  request: NormalizedRequest,
  accessToken: string,
): Remedy | undefined {
  if (status !== 401 && status !== 403) return undefined;
  if (claims !== undefined) return { kind: 'better', request: { ...request, claims } };
  const rejected = accessToken;
  if (parameters.error === 'insufficient_user_authentication') {
    const acrValues = words(parameters.acr_values).join(' ') || request.acrValues;
    const maxAge = /^\d{1,9}$/.test(parameters.max_age ?? '') ? Number(parameters.max_age) : request.maxAge;
    return { kind: 'better', request: { ...request, acrValues, maxAge, rejected } };
  }
  const scopes = words(parameters.scope).filter(isScope);
  if (parameters.error === 'insufficient_scope' && scopes.length > 0)
    return { kind: 'better', request: { ...withScopes(request, scopes), forceRefresh: false, rejected } };
  return status === 401 ? { kind: 'rejected', request: { ...request, rejected } } : undefined;
}

function words(text = ''): string[] {
  return text.split(' ').filter((word) => word !== '');
}
