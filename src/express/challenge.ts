import type { Request, Response } from 'express';
import type { InteractionRequiredError } from '../core/errors.ts';
import { publicPath, safeReturnTo } from '../core/return-to.ts';
import type { Challenge } from './challenge-response.ts';
import { armChallenge, isArmed, sendChallenge } from './challenge-response.ts';
import type { Context } from './context.ts';
import { PAGE_HEADERS, renderPage } from './pages.ts';
import { keepPost, newPostId, type Refusal, readPost } from './preserved-post.ts';
import { requestKind } from './request-kind.ts';
import { sealLoginRequest } from './sealed-request.ts';
import { type LoginStart, startLogin } from './start-login.ts';

type LoginRequest = NonNullable<LoginStart['request']>;

/** Calls of one request that fail at the same moment are one challenge, and one transaction: the first one's. */
const arming = new WeakMap<Response, Promise<void>>();

/**
 * The request that only the user can help becomes the challenge: now for a guard, which owns the answer, or with the
 * first error that the app writes.
 *
 * @throws what keeps the challenge from being prepared, such as a provider that is down.
 */
export async function challengeWhenFailing(
  context: Context,
  req: Request,
  res: Response,
  error: InteractionRequiredError,
): Promise<void> {
  if (isArmed(res) || res.headersSent) return;
  const pending =
    arming.get(res) ??
    prepareChallenge(context, req, error)
      .then((challenge) => armChallenge(res, challenge))
      .finally(() => arming.delete(res));
  arming.set(res, pending);
  await pending;
}

export async function challengeNow(
  context: Context,
  req: Request,
  res: Response,
  error: InteractionRequiredError,
): Promise<void> {
  sendChallenge(res, await prepareChallenge(context, req, error));
}

/** Everything that can fail happens here: discovery, a pushed request, storing the transaction and the session. */
async function prepareChallenge(
  context: Context,
  req: Request,
  error: InteractionRequiredError,
): Promise<Challenge> {
  const { baseUrl } = context.settings;
  const { scopes, resource, audience, claims, acrValues, maxAge } = error;
  const request = { scopes, resource, audience, claims, acrValues, maxAge };
  const here = safeReturnTo(publicPath(req.originalUrl, baseUrl), baseUrl);
  switch (requestKind(req.method, req.headers)) {
    case 'navigation':
      return redirectChallenge(
        302,
        await startLogin(context, req, { kind: 'challenge', returnTo: here, request }),
      );
    case 'frame':
      return pageChallenge(scopes, {
        title: 'Sign in to go on',
        text: 'This part of the page needs you to sign in. That is not possible inside a frame.',
        action: {
          href: loginUrl(context, request, isRead(req) ? here : referrer(req, baseUrl)),
          label: 'Sign in',
          target: '_top',
        },
      });
    case 'form':
      return formChallenge(context, req, request, here);
    case 'client': {
      const url = loginUrl(context, request, referrer(req, baseUrl));
      const body = JSON.stringify({ error: 'interaction_required', loginUrl: url, scopes });
      return {
        status: 401,
        headers: { ...challengeHeaders(scopes), 'Content-Type': 'application/json; charset=utf-8' },
        body,
      };
    }
  }
}

/** The POST is kept for after the login, or its user is told that it is lost, and why. */
async function formChallenge(
  context: Context,
  req: Request,
  request: LoginRequest,
  here: string,
): Promise<Challenge> {
  const { baseUrl, preservePost } = context.settings;
  const post = preservePost ? await readPost(context, req, here) : 'other';
  if (typeof post === 'string') {
    return pageChallenge(request.scopes ?? [], {
      title: 'Sign in to go on',
      text: `What you sent was not processed, because you need to sign in first${WHY_NOT_KEPT[post]}. Sign in, then send it again.`,
      action: { href: loginUrl(context, request, referrer(req, baseUrl)), label: 'Sign in' },
    });
  }
  const login = { kind: 'challenge', returnTo: here, postId: newPostId(), request } as const;
  const url = await startLogin(context, req, login);
  await keepPost(context, req, login, post);
  return redirectChallenge(303, url);
}

const WHY_NOT_KEPT: Readonly<Record<Refusal, string>> = {
  'too large': ', and it is too large to be kept until then',
  kind: ', and it is of a kind that is not kept until then, such as a file',
  other: '',
};

function redirectChallenge(status: 302 | 303, url: URL): Challenge {
  return { status, headers: { Location: url.href, 'Cache-Control': 'no-store' }, body: '' };
}

function pageChallenge(
  scopes: readonly string[],
  page: Omit<Parameters<typeof renderPage>[0], 'status'>,
): Challenge {
  return {
    status: 401,
    headers: { ...PAGE_HEADERS, ...challengeHeaders(scopes) },
    body: renderPage({ status: 401, ...page }),
  };
}

/** RFC 9110 §15.5.2 wants a challenge with every 401. No browser shows a prompt for a scheme it does not know. */
function challengeHeaders(scopes: readonly string[]): Record<string, string> {
  const scope = scopes.length === 0 ? '' : `, scope="${scopes.join(' ')}"`;
  return {
    'WWW-Authenticate': `OpenID realm="login", error="interaction_required"${scope}`,
    'Cache-Control': 'no-store',
  };
}

/** The app's own login route with the request sealed in it; nothing is stored until it is opened. */
function loginUrl(context: Context, request: LoginRequest, returnTo: string): string {
  const { settings } = context;
  const url = new URL(settings.baseUrl.href.replace(/\/+$/, '') + (settings.routes.login || '/'));
  if (settings.routes.login !== false)
    url.searchParams.set('request', sealLoginRequest(context, { request, returnTo }));
  return url.href;
}

/** Whether a GET can come back to this URL. */
function isRead(req: Request): boolean {
  return req.method === 'GET' || req.method === 'HEAD';
}

/** The page that a script runs in, as far as it is one of ours: never the URL that the script fetched. */
function referrer(req: Request, baseUrl: URL): string {
  return safeReturnTo(req.headers.referer, baseUrl);
}
