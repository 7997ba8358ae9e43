import type { Request, Response } from 'express';
import { InteractionRequiredError } from '../core/errors.ts';
import { type NormalizedRequest, normalizeRequest, type TokenRequestInput } from '../core/token-request.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import { challengeWhenFailing } from './challenge.ts';
import { type Context, type Shared, signedIn } from './context.ts';
import { fetchWithToken } from './fetch-with-token.ts';

export function makeGetTokenSilent(context: Context, req: Request) {
  return async function getTokenSilent(input?: TokenRequestInput): Promise<TokenResult> {
    return acquire(context, req, normalize(context, input));
  };
}

export function makeGetToken(context: Context, req: Request, res: Response) {
  return async function getToken(input?: TokenRequestInput): Promise<TokenResult> {
    try {
      return await acquire(context, req, normalize(context, input));
    } catch (error) {
      if (error instanceof InteractionRequiredError) await challengeWhenFailing(context, req, res, error);
      throw error;
    }
  };
}

export function makeFetchWithToken(context: Context, req: Request, res: Response) {
  const source = {
    acquire: async (request: NormalizedRequest) => acquire(context, req, request),
    challenge: (error: InteractionRequiredError) => challengeWhenFailing(context, req, res, error),
  };
  return async function fetchWithTokenOfUser(
    url: string | URL,
    init: RequestInit = {},
    request?: TokenRequestInput,
  ): Promise<globalThis.Response> {
    return fetchWithToken(context.settings, source, { url, init, request });
  };
}

/** For who is signed in in this request's session. Synchronous where this process remembers the token. */
export function acquire(
  context: Context,
  req: Request,
  request: NormalizedRequest,
): TokenResult | Promise<TokenResult> {
  const session = signedIn(context, req);
  if (session === undefined) throw new InteractionRequiredError({ ...request, reason: 'signed_out' });
  return context.silent.fromMemory(session, request) ?? context.silent.acquire(session, request);
}

const MAX_REMEMBERED = 1000;

/** Apps ask with the same few texts, or none, again and again; those are read once. */
export function normalize(
  { normalized, settings }: Shared,
  input: TokenRequestInput | undefined,
): NormalizedRequest {
  if (typeof input === 'object') return normalizeRequest(input, settings.requestDefaults);
  const known = normalized.get(input);
  if (known !== undefined) return known;
  const request = normalizeRequest(input, settings.requestDefaults);
  if (normalized.size < MAX_REMEMBERED) normalized.set(input, request);
  return request;
}
