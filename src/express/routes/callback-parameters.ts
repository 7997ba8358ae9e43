import { randomBytes } from 'node:crypto';
import type { Request, Response } from 'express';
import { LoginError } from '../../core/errors.ts';
import type { Context } from '../context.ts';
import { readForm } from '../form-body.ts';
import { redirect } from '../pages.ts';
import { getLoginState } from '../session.ts';
import { fingerprint } from '../start-login.ts';

const STASH_MS = 5 * 60 * 1000;
const MAX_QUERY = 32 * 1024;
const STASHED = 'form_post';
const AGAIN = 'again';
const MAX_AGAIN = 4;
const AGAIN_MS = 25;

/**
 * The parameters of the authorization response, from the query or, with `response_mode=form_post`, from the body.
 *
 * Browsers leave a `SameSite=Lax` cookie out of the provider's cross-site POST. Such an answer is set aside, sealed,
 * and the browser is sent to fetch it by a GET, which does carry the cookie. Of one that answers no login the state
 * alone goes that way: any site can post it, and must not replace the session that the browser has. Undefined: that was
 * the answer.
 */
export async function callbackParameters(
  context: Context,
  req: Request,
  res: Response,
): Promise<URLSearchParams | undefined> {
  if (req.method === 'POST') return fromForm(context, req, res);
  const search = searchOf(req);
  if (search.length > MAX_QUERY) throw badResponse();
  const query = new URLSearchParams(search);
  return query.has(STASHED) ? readStashed(context, query) : query;
}

async function fromForm(context: Context, req: Request, res: Response): Promise<URLSearchParams | undefined> {
  const { transactions } = context.binding;
  if (context.settings.responseMode !== 'form_post') throw badResponse();
  const form = await readForm(req);
  const state = form?.get('state');
  if (form === undefined || !state) throw badResponse();
  if (getLoginState(req) !== undefined) return form;
  const isPending = (await transactions.peek(fingerprint(state))) !== undefined;
  sendToStashed(context, req, res, isPending ? await stash(context, form) : '', { state });
  return undefined;
}

/**
 * Sends the browser here once more, for a callback whose cookie names a session that is gone: another tab's login may
 * have ended it while this was on its way, and by then the browser has the new one. False when that was of no use.
 */
export async function askAgain(
  context: Context,
  req: Request,
  res: Response,
  response: URLSearchParams,
): Promise<boolean> {
  const query = new URLSearchParams(searchOf(req));
  const times = Math.max(0, Number(query.get(AGAIN)) || 0);
  if (req.method !== 'GET' || req.headers.cookie === undefined || times >= MAX_AGAIN) return false;
  const id = query.get(STASHED) ?? (await stash(context, response));
  // The answer to the other tab is on its way.
  await new Promise((resolve) => setTimeout(resolve, AGAIN_MS * 2 ** times));
  sendToStashed(context, req, res, id, {
    state: response.get('state') ?? '',
    [AGAIN]: String(times + 1),
  });
  return true;
}

/** Whoever started the login knows its state; the id only the browser that brought the answer. */
async function stash({ binding, cipher }: Context, response: URLSearchParams): Promise<string> {
  const id = randomBytes(24).toString('base64url');
  await binding.transactions.put(stashId(id), cipher.seal(response.toString(), id, STASHED), STASH_MS);
  return id;
}

function sendToStashed(
  { settings }: Context,
  req: Request,
  res: Response,
  id: string,
  parameters: Record<string, string>,
): void {
  // This request has a session only because it brought no cookie of one; it must not replace the browser's own.
  Reflect.deleteProperty(req, 'session');
  const url = new URL(settings.redirectUri);
  url.search = new URLSearchParams({ [STASHED]: id, ...parameters }).toString();
  redirect(res, 303, url.pathname + url.search);
}

/** It is left there: the same request sent twice is the same answer of the provider twice. */
async function readStashed(context: Context, query: URLSearchParams): Promise<URLSearchParams> {
  const id = query.get(STASHED) ?? '';
  const stored = await context.binding.transactions.peek(stashId(id));
  const text = stored && context.cipher.open(stored.payload, id, STASHED);
  return new URLSearchParams(text ?? { state: query.get('state') ?? '' });
}

function searchOf({ originalUrl }: Request): string {
  return originalUrl.slice(`${originalUrl}?`.indexOf('?') + 1);
}

function stashId(id: string): string {
  return `form.${fingerprint(id)}`;
}

function badResponse(): LoginError {
  return new LoginError('This is not an answer of the provider to a sign-in of this app.', {
    error: 'invalid_response',
  });
}
