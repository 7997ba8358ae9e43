import { ConfigurationError, safeText } from '../core/errors.ts';

/** The part of `fetch` that this package calls. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

const MAX_BODY_BYTES = 1024 * 1024;

/** What `guardedFetch` found wrong, inside the errors that openid-client makes of it. */
export function configurationErrorIn(error: unknown): ConfigurationError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ConfigurationError) return cause;
  }
  return undefined;
}

/** The provider's answer did not arrive whole. */
export class AnswerLostError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'AnswerLostError';
  }
}

/** Where a provider's endpoints may be plain http. */
export type PlainHttp = 'anywhere' | 'loopback' | 'nowhere';

/**
 * A provider on https has no endpoints on this machine: whoever took it over would send the app, and the client secret
 * with it, to whatever listens here.
 */
export function plainHttpOf(issuer: URL, allowInsecureRequests: boolean): PlainHttp {
  if (allowInsecureRequests) return 'anywhere';
  return issuer.protocol === 'https:' ? 'nowhere' : 'loopback';
}

/** A fetch for talking to the provider: plain http only where allowed, no redirects, bodies read whole and at most 1 MiB. */
export function guardedFetch(fetch: Fetch, plainHttp: PlainHttp): Fetch {
  return async (url, init) => {
    endpointUrl(url, 'endpoint', plainHttp);
    const response = await fetch(url, { ...init, redirect: 'manual' });
    const text = await readBody(response);
    const hasBody = text !== '' && ![101, 204, 205, 304].includes(response.status);
    const headers = new Headers(response.headers);
    headers.delete('content-encoding');
    headers.delete('content-length');
    return new Response(hasBody ? text : null, { status: Math.max(response.status, 200), headers });
  };
}

async function readBody(response: Response): Promise<string> {
  if (response.body === null) return '';
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      bytes += chunk.byteLength;
      if (bytes > MAX_BODY_BYTES) throw new Error('the body is larger than 1 MiB');
      text += decoder.decode(chunk, { stream: true });
    }
  } catch (cause) {
    throw new AnswerLostError('The answer of the provider did not arrive whole', cause);
  }
  return text + decoder.decode();
}

/**
 * The URL of an endpoint that the provider names.
 *
 * @throws {ConfigurationError} when it is not https, nor http where that is allowed.
 */
export function endpointUrl(value: unknown, name: string, plainHttp: PlainHttp): URL {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !['https:', 'http:'].includes(url.protocol))
    throw new ConfigurationError(
      `The provider names no usable ${name} in its metadata: it must be an https URL.`,
    );
  const isAllowed =
    url.protocol === 'https:' || plainHttp === 'anywhere' || (plainHttp === 'loopback' && isSecureUrl(url));
  if (!isAllowed) {
    throw new ConfigurationError(
      `The provider names ${url.origin} as its ${name}, which is plain http. Use https, or set allowInsecureRequests: true.`,
    );
  }
  return url;
}

/** https, or http on a loopback address (RFC 8252 §8.3 knows why those are safe). */
export function isSecureUrl(url: URL): boolean {
  if (url.protocol === 'https:') return true;
  return url.protocol === 'http:' && isLoopback(url.hostname);
}

function isLoopback(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname)
  );
}

const NEVER_SENT: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** What went wrong with a call, in a word that can be looked up: the status of the answer, or the innermost code. */
export function faultOf(error: unknown, depth = 0): string | undefined {
  if (typeof error !== 'object' || error === null || depth > 5) return undefined;
  const { status, code, cause } = error as { status?: unknown; code?: unknown; cause?: unknown };
  if (typeof status === 'number' && status !== 200) return `it answered ${status}`;
  return faultOf(cause, depth + 1) ?? (typeof code === 'string' ? safeText(code, 80) : undefined);
}

/** Whether a failed fetch can have reached the provider. Errors are read by their fields: fetch may throw another realm's. */
export function wasSent(error: unknown, depth = 0): boolean {
  if (typeof error !== 'object' || error === null || depth > 5) return true;
  const { code, cause, errors } = error as { code?: unknown; cause?: unknown; errors?: unknown };
  if (typeof code === 'string' && NEVER_SENT.has(code)) return false;
  if (Array.isArray(errors) && errors.length > 0) return errors.some((single) => wasSent(single, depth + 1));
  return wasSent(cause, depth + 1);
}
