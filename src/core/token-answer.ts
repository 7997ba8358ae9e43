import { isRecord } from './cache-codec.ts';

/** The answer of a token endpoint (RFC 6749 §5.1), in our words. Durations are in seconds. */
export interface TokenAnswer {
  readonly accessToken: string;
  readonly tokenType: string;
  readonly expiresIn?: number | undefined;
  readonly scope?: string | undefined;
  readonly refreshToken?: string | undefined;
  readonly refreshExpiresIn?: number | undefined;
  readonly refreshIn?: number | undefined;
  readonly idToken?: string | undefined;
}

const MAX_SECONDS = 31_536_000;

/**
 * Brings the JSON of a token answer into the shapes that RFC 6749 §5.1 gives it.
 *
 * Providers send `expires_in` as a string, `scope` as an array, no `token_type`; a lifetime that is negative or
 * longer than a year is taken as not given.
 */
export function normalizeAnswer(json: Record<string, unknown>): Record<string, unknown> {
  const { expires_in, scope, token_type, refresh_token, id_token, ...rest } = json;
  const answer: Record<string, unknown> = { ...rest, token_type: isText(token_type) ? token_type : 'Bearer' };
  const expiresIn = seconds(expires_in);
  if (expiresIn !== undefined) answer.expires_in = expiresIn;
  if (typeof scope === 'string') answer.scope = scope;
  if (Array.isArray(scope) && scope.every(isText)) answer.scope = scope.join(' ');
  if (isText(refresh_token)) answer.refresh_token = refresh_token;
  if (isText(id_token)) answer.id_token = id_token;
  return answer;
}

/** What a header can carry (RFC 6749 A.12): `fetch` quotes anything else in its error. */
const TOKEN = /^[\x20-\x7e]+$/;

/** Reads a normalized answer; undefined without an access token that can be sent. */
export function readAnswer(json: Record<string, unknown>): TokenAnswer | undefined {
  if (!isRecord(json) || !isText(json.access_token) || !TOKEN.test(json.access_token)) return undefined;
  const refreshExpiresIn = seconds(json.refresh_expires_in ?? json.refresh_token_expires_in);
  return {
    accessToken: json.access_token,
    tokenType: String(json.token_type),
    expiresIn: seconds(json.expires_in),
    // An empty one says that nothing was granted; only none at all means: as asked.
    scope: typeof json.scope === 'string' ? json.scope : undefined,
    refreshToken: isText(json.refresh_token) ? json.refresh_token : undefined,
    // Keycloak sends 0 for a refresh token that does not expire.
    refreshExpiresIn: refreshExpiresIn === 0 ? undefined : refreshExpiresIn,
    // With 0 every use of the token would ask for another.
    refreshIn: seconds(json.refresh_in) || undefined,
    idToken: isText(json.id_token) ? json.id_token : undefined,
  };
}

function seconds(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number) || number < 0 || number > MAX_SECONDS)
    return undefined;
  return number;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}
