import type { NextFunction, Request, Response } from 'express';
import { publicPath, safeReturnTo } from '../../core/return-to.ts';
import type { Context } from '../context.ts';
import { redirect } from '../pages.ts';
import { KEPT_HEADERS, POST_ID, type PreservedPost, splitPostId, takePost } from '../preserved-post.ts';
import { requestKind } from '../request-kind.ts';
import { respondError } from '../respond-error.ts';
import type { Settings } from '../settings.ts';

/** The route of a URL that names a preserved POST. */
export function replayOf({ preservePost }: Settings, req: Request): typeof replayRoute | undefined {
  return preservePost && splitPostId(req.url).id !== undefined ? replayRoute : undefined;
}

/**
 * The way back to a page that a POST was sent to: the request becomes that POST, once, and the app's handlers run.
 * Everything else at such a URL goes on as if the id was not there.
 */
async function replayRoute(context: Context, req: Request, res: Response, next: NextFunction): Promise<void> {
  const id = splitPostId(req.originalUrl).id ?? '';
  forgetId(req);
  if (req.method !== 'GET' && req.method !== 'HEAD') return next();
  const { baseUrl } = context.settings;
  const here = safeReturnTo(publicPath(req.originalUrl, baseUrl), baseUrl);
  const isPage = req.method === 'GET' && requestKind(req.method, req.headers) === 'navigation';
  try {
    const post = isPage ? await takePost(context, req, here, id) : undefined;
    if (post === undefined || !canBeRead(req, post)) return redirect(res, 302, here);
    restore(req, post);
  } catch (error) {
    return respondError(context, req, res, next, error);
  }
  // Browsers take it for the answer to a GET.
  res.set('Cache-Control', 'no-store');
  next();
}

function forgetId(req: Request): void {
  req.url = splitPostId(req.url).url;
  req.originalUrl = splitPostId(req.originalUrl).url;
  // Express 4 has read the query already.
  delete (req.query as Record<string, unknown>)[POST_ID];
}

function canBeRead(req: Request, { body }: PreservedPost): boolean {
  return 'parsed' in body || !req.readableEnded;
}

function restore(req: Request, { headers, body }: PreservedPost): void {
  req.method = 'POST';
  for (const name of [...KEPT_HEADERS, 'content-length', 'transfer-encoding']) delete req.headers[name];
  Object.assign(req.headers, headers);
  // Parsers leave a body alone that comes without a length.
  if ('parsed' in body) {
    req.body = body.parsed;
    return;
  }
  const bytes = Buffer.from(body.unread, 'latin1');
  req.headers['content-length'] = String(bytes.length);
  req.unshift(bytes);
}
