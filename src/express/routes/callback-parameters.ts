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

/**
 * The parameters of the authorization response, from the query or, with `response_mode=form_post`, from the body.
 *
 * Browsers leave a `SameSite=Lax` cookie out of the provider's cross-site POST. Such an answer is set aside, sealed,
 * and the browser is sent to fetch it by a GET, which does carry the cookie. Undefined: that was the answer.
 */
export async function callbackParameters(
  context: Context,
  req: Request,
  res: Response,
): Promise<URLSearchParams | undefined> {
  if (req.method === 'POST') return fromForm(context, req, res);
  const search = req.originalUrl.slice(`${req.originalUrl}?`.indexOf('?') + 1);
  if (search.length > MAX_QUERY) throw badResponse();
  const query = new URLSearchParams(search);
  return query.has('form_post') ? readStashed(context, query) : query;
}

async function fromForm(context: Context, req: Request, res: Response): Promise<URLSearchParams | undefined> {
  const { transactions } = context.binding;
  if (context.settings.responseMode !== 'form_post') throw badResponse();
  const form = await readForm(req);
  const state = form?.get('state');
  if (form === undefined || !state) throw badResponse();
  if (getLoginState(req) !== undefined || (await transactions.peek(fingerprint(state))) === undefined)
    return form;
  // Whoever started the login knows its state; this only the browser that brought the answer.
  const id = randomBytes(24).toString('base64url');
  await transactions.put(stashId(id), context.cipher.seal(form.toString(), id, 'form_post'), STASH_MS);
  // This request has a session only because its cookie was left out; it must not replace the browser's own.
  Reflect.deleteProperty(req, 'session');
  const url = new URL(context.settings.redirectUri);
  url.search = new URLSearchParams({ form_post: id, state }).toString();
  redirect(res, 303, url.pathname + url.search);
  return undefined;
}

/** It is left there: the same request sent twice is the same answer of the provider twice. */
async function readStashed(context: Context, query: URLSearchParams): Promise<URLSearchParams> {
  const id = query.get('form_post') ?? '';
  const stored = await context.binding.transactions.peek(stashId(id));
  const text = stored && context.cipher.open(stored.payload, id, 'form_post');
  return new URLSearchParams(text ?? { state: query.get('state') ?? '' });
}

function stashId(id: string): string {
  return `form.${fingerprint(id)}`;
}

function badResponse(): LoginError {
  return new LoginError('This is not an answer of the provider to a sign-in of this app.', {
    error: 'invalid_response',
  });
}
