import { AsyncLocalStorage } from 'node:async_hooks';
import { isRecord } from '../core/cache-codec.ts';
import { ConfigurationError } from '../core/errors.ts';
import { normalizeAnswer } from '../core/token-answer.ts';
import { parseRetryAfter, type TokenEndpointFailure } from '../core/token-endpoint-outcome.ts';
import { AnswerLostError, type Fetch, wasSent } from './fetch.ts';
import { withoutSecrets } from './quoted-secrets.ts';

/** What one token endpoint request left behind, whatever openid-client then makes of it. */
export interface Exchange {
  readonly signal: AbortSignal;
  readonly now: () => number;
  failure?: TokenEndpointFailure;
  /** The refresh token that arrived: it counts also when the rest of the answer is refused. */
  refreshToken?: string;
  answer?: Record<string, unknown>;
}

const current = new AsyncLocalStorage<Exchange>();

/** Runs a grant of openid-client so that the answer of its token endpoint request is kept in `exchange`. */
export function withExchange<T>(exchange: Exchange, grant: () => Promise<T>): Promise<T> {
  return current.run(exchange, grant);
}

/**
 * The fetch that openid-client gets. Inside `withExchange` it reads the body first, keeps what matters, and hands
 * over a new response in the shapes that openid-client takes.
 */
export function exchangeFetch(fetch: Fetch): Fetch {
  return (url, init) => {
    const exchange = current.getStore();
    return exchange === undefined ? fetch(url, init) : fetchTokens(fetch, url, init, exchange);
  };
}

async function fetchTokens(
  fetch: Fetch,
  url: string,
  init: RequestInit,
  exchange: Exchange,
): Promise<Response> {
  let response: Response;
  try {
    const signals = init.signal ? [init.signal, exchange.signal] : [exchange.signal];
    response = await fetch(url, { ...init, signal: AbortSignal.any(signals) });
  } catch (error) {
    if (!(error instanceof ConfigurationError)) {
      const reached = error instanceof AnswerLostError || wasSent(error);
      exchange.failure = { transport: reached ? 'no_answer' : 'not_sent' };
    }
    throw error;
  }
  const json = parseObject(await response.text());
  if (response.status !== 200 || json === undefined || isError(json)) {
    exchange.failure = describeFailure(response, json, exchange.now(), init);
    throw new Error(`The token endpoint answered ${response.status}`);
  }
  const answer = normalizeAnswer(json);
  exchange.answer = answer;
  if (typeof answer.refresh_token === 'string') exchange.refreshToken = answer.refresh_token;
  return new Response(JSON.stringify(answer), {
    status: 200,
    headers: { 'content-type': 'application/json' },
  });
}

/** Some send every member that they know; an `error` without a word is none. */
function isError({ error }: Record<string, unknown>): boolean {
  return error !== undefined && error !== null && error !== '';
}

function describeFailure(
  response: Response,
  json: Record<string, unknown> | undefined,
  now: number,
  sent: RequestInit,
): TokenEndpointFailure {
  const retryAfter = parseRetryAfter(response.headers.get('retry-after'), now);
  const claims = claimsText(json?.claims);
  return {
    transport: 'answered',
    status: response.status,
    ...(typeof json?.error === 'string' ? { error: withoutSecrets(json.error, sent) } : {}),
    ...(typeof json?.suberror === 'string' ? { suberror: json.suberror } : {}),
    ...(typeof json?.error_description === 'string'
      ? { description: withoutSecrets(json.error_description, sent) }
      : {}),
    ...(claims === undefined ? {} : { claims }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  };
}

/** A claims challenge comes as JSON text or as an object; anything else is not one. */
function claimsText(value: unknown): string | undefined {
  if (isRecord(value)) return JSON.stringify(value);
  return typeof value === 'string' && parseObject(value) !== undefined ? value : undefined;
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
