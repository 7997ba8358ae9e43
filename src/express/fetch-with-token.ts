import { type Remedy, remedyFor } from '../core/api-refusal.ts';
import { InteractionRequiredError } from '../core/errors.ts';
import { type NormalizedRequest, normalizeRequest, type TokenRequestInput } from '../core/token-request.ts';
import { bearerParameters } from '../core/www-authenticate.ts';
import { isSecureUrl } from '../protocol/fetch.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
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
  const better = remedyIn(url, answer, request, first);
  if (better === undefined || !isRepeatable(call.init.body)) return answer;
  await discard(answer);
  const second = await withChallenge(source, () => source.acquire(better.request));
  const again = await send(settings, url, call.init, second);
  const wanted = remedyIn(url, again, better.request, second);
  if (wanted === undefined || wanted.kind === 'rejected') return again;
  await discard(again);
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
  const wanted = input ?? resourceAt(resourceUrls, url);
  if (wanted === undefined) {
    throw new TypeError(
      `No resource in auth({ resources }) has a url that ${url.origin} belongs to: add one, or pass a token request`,
    );
  }
  const request = normalizeRequest(wanted, requestDefaults);
  const homes = homesOf(settings, wanted, request);
  if (homes.length > 0 && !homes.some(([, home]) => isBelow(url, home))) {
    const [name, home] = homes[0] as [string, URL];
    throw new TypeError(`The resource ${name} is at ${home.href}: its token is not sent to ${url.origin}`);
  }
  return request;
}

/** Of several that hold the URL the one that says most about it. */
function resourceAt(resourceUrls: Settings['resourceUrls'], url: URL): string | undefined {
  return Object.entries(resourceUrls)
    .filter(([, base]) => isBelow(url, base))
    .sort(([, a], [, b]) => b.pathname.length - a.pathname.length)[0]?.[0];
}

/** Where the token of a request may go: to the resource it names, or to those with its resource or audience. */
function homesOf(
  { resourceUrls, requestDefaults: { resources } }: Settings,
  input: TokenRequestInput,
  { resource, audience }: NormalizedRequest,
): [string, URL][] {
  const isNamed = typeof input === 'string' && Object.hasOwn(resources, input);
  const isExplicit =
    typeof input === 'object' && !Array.isArray(input) && ('resource' in input || 'audience' in input);
  return Object.entries(resourceUrls).filter(([name]) => {
    if (isNamed) return name === input;
    const target = resources[name];
    return isExplicit && target?.resource === resource && target?.audience === audience;
  });
}

function isBelow(url: URL, base: URL): boolean {
  if (url.origin !== base.origin) return false;
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

/** What to ask for instead of the token that this answer refused. */
function remedyIn(
  url: URL,
  answer: Response,
  request: NormalizedRequest,
  { accessToken }: TokenResult,
): Remedy | undefined {
  if (isFromElsewhere(answer, url)) return undefined;
  const parameters = bearerParameters(answer.headers.get('www-authenticate'));
  const refusal = { status: answer.status, parameters, claims: readClaims(parameters.claims) };
  return remedyFor(refusal, request, accessToken);
}

/** The answer of another origin that a redirect led to, and that has not seen the token. */
function isFromElsewhere(answer: Response, url: URL): boolean {
  return answer.redirected && URL.canParse(answer.url) && new URL(answer.url).origin !== url.origin;
}

/** What has been refused is not read to its end; that it breaks off is nobody's matter. */
async function discard(answer: Response): Promise<void> {
  await answer.body?.cancel().catch(() => {});
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
