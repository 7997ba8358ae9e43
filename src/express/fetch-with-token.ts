import { InteractionRequiredError } from '../core/errors.ts';
import { scopeSet } from '../core/scopes.ts';
import { type NormalizedRequest, normalizeRequest } from '../core/token-request.ts';
import { parseWwwAuthenticate } from '../core/www-authenticate.ts';
import { isSecureUrl } from '../protocol/fetch.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import type { TokenRequestInput } from './request-surface.ts';
import type { Settings } from './settings.ts';

/** How `fetchWithToken` gets tokens: silently, and how it tells the user's browser that only the user can help. */
export interface TokenSource {
  acquire(request: NormalizedRequest): Promise<TokenResult>;
  /** Makes the response the challenge. */
  challenge(error: InteractionRequiredError): Promise<void>;
}

/**
 * Calls an API with an access token. After a 401 that refused this token, a claims challenge or `insufficient_scope`
 * it asks for a better token and calls once more, never a third time.
 *
 * @throws {TypeError} for a URL that no token is meant for.
 * @throws {InteractionRequiredError} when only the user can get what the API wants.
 */
export async function fetchWithToken(
  settings: Settings,
  source: TokenSource,
  call: { url: string | URL; init: RequestInit; request: TokenRequestInput | undefined },
): Promise<Response> {
  const url = parseTarget(settings, call.url);
  const request = requestFor(settings, url, call.request);
  const first = await withChallenge(source, () => source.acquire(request));
  const answer = await send(settings, url, call.init, first);
  const better = betterRequest(answer, request, first);
  if (better === undefined || !isRepeatable(call.init.body)) return answer;
  await answer.body?.cancel();
  const second = await withChallenge(source, () => source.acquire(better.request));
  const again = await send(settings, url, call.init, second);
  const wanted = betterRequest(again, better.request, second);
  if (wanted === undefined || wanted.kind === 'rejected') return again;
  await again.body?.cancel();
  const error = new InteractionRequiredError({ ...wanted.request, reason: 'step_up' });
  await source.challenge(error);
  throw error;
}

async function withChallenge(source: TokenSource, acquire: () => Promise<TokenResult>): Promise<TokenResult> {
  try {
    return await acquire();
  } catch (error) {
    if (error instanceof InteractionRequiredError) await source.challenge(error);
    throw error;
  }
}

function parseTarget(settings: Settings, target: string | URL): URL {
  if (!URL.canParse(String(target))) throw new TypeError('fetchWithToken() takes an absolute URL');
  const url = new URL(target);
  if (!settings.allowInsecureRequests && !isSecureUrl(url))
    throw new TypeError(`fetchWithToken() sends no token over plain http to ${url.host}`);
  return url;
}

/** The request that was given, or the resource whose URL this is. A token never goes to another resource's origin. */
function requestFor(settings: Settings, url: URL, input: TokenRequestInput | undefined): NormalizedRequest {
  const { requestDefaults, resourceUrls } = settings;
  const name =
    input === undefined
      ? Object.keys(resourceUrls).find((candidate) => isBelow(url, resourceUrls[candidate]))
      : input;
  if (typeof name === 'string' && resourceUrls[name] !== undefined && !isBelow(url, resourceUrls[name])) {
    throw new TypeError(
      `The resource ${name} is at ${resourceUrls[name].href}: its token is not sent to ${url.origin}`,
    );
  }
  if (name === undefined) {
    throw new TypeError(
      `No resource in auth({ resources }) has a url that ${url.origin} belongs to: add one, or pass a token request`,
    );
  }
  return normalizeRequest(name, requestDefaults);
}

function isBelow(url: URL, base: URL | undefined): boolean {
  if (base === undefined || url.origin !== base.origin) return false;
  const path = base.pathname.replace(/\/+$/, '');
  return url.pathname === path || url.pathname.startsWith(`${path}/`);
}

/** `fetch` itself leaves the header out when a redirect goes to another origin. */
function send(settings: Settings, url: URL, init: RequestInit, token: TokenResult): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${token.accessToken}`);
  return settings.fetch(url.href, { ...init, headers });
}

/** A stream is gone after the first call. */
function isRepeatable(body: RequestInit['body']): boolean {
  return (
    !(body instanceof ReadableStream) &&
    !(typeof body === 'object' && body !== null && Symbol.asyncIterator in body)
  );
}

/** What to ask for instead, by the words of the API's refusal (RFC 6750 §3.1, RFC 9470 §3, claims challenges). */
function betterRequest(
  answer: Response,
  request: NormalizedRequest,
  token: TokenResult,
): { kind: 'better' | 'rejected'; request: NormalizedRequest } | undefined {
  if (answer.status !== 401 && answer.status !== 403) return undefined;
  const challenges = parseWwwAuthenticate(answer.headers.get('www-authenticate'));
  const { parameters = {} } = challenges.find(({ scheme }) => scheme.toLowerCase() === 'bearer') ?? {};
  const claims = readClaims(parameters.claims);
  if (claims !== undefined) return { kind: 'better', request: { ...request, claims } };
  if (parameters.error === 'insufficient_user_authentication') {
    const maxAge = /^\d{1,9}$/.test(parameters.max_age ?? '') ? Number(parameters.max_age) : undefined;
    return { kind: 'better', request: { ...request, acrValues: parameters.acr_values, maxAge } };
  }
  if (parameters.error === 'insufficient_scope' && parameters.scope !== undefined) {
    const scopes = scopeSet([
      ...request.scopes,
      ...parameters.scope.split(' ').filter((scope) => scope !== ''),
    ]);
    return { kind: 'better', request: withScopes(request, scopes) };
  }
  if (answer.status !== 401) return undefined;
  return { kind: 'rejected', request: { ...request, rejected: token.accessToken } };
}

function withScopes(request: NormalizedRequest, scopes: readonly string[]): NormalizedRequest {
  const { resource, audience } = request;
  const target = {
    ...(resource === undefined ? {} : { resource }),
    ...(audience === undefined ? {} : { audience }),
  };
  return normalizeRequest({ scopes, ...target }, { scopes: [], target: {}, resources: {} });
}

/** A claims challenge in base64url or as plain JSON text. */
function readClaims(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  for (const text of [value, Buffer.from(value, 'base64url').toString('utf8')]) {
    try {
      const parsed: unknown = JSON.parse(text);
      if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed))
        return JSON.stringify(parsed);
    } catch {
      // Not in this form; the other one is tried.
    }
  }
  return undefined;
}
