import type { NextFunction, Request, Response } from 'express';
import { homePath, safeReturnTo } from '../../core/return-to.ts';
import type { Context } from '../context.ts';
import { redirect, refusePrefetch } from '../pages.ts';
import { isPrefetch } from '../request-kind.ts';
import { respondError } from '../respond-error.ts';
import { openLoginRequest } from '../sealed-request.ts';
import { type LoginStart, startLogin } from '../start-login.ts';

/** `GET /login`: `returnTo` is a path to come back to, `request` what a challenge sealed. */
export async function loginRoute(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
): Promise<void> {
  const { baseUrl } = context.settings;
  if (isPrefetch(req.headers)) return refusePrefetch(res, homePath(baseUrl));
  const sealed = openLoginRequest(context, req.query.request);
  const returnTo = safeReturnTo(req.query.returnTo, baseUrl, sealed?.returnTo);
  const login: LoginStart =
    sealed === undefined
      ? { kind: 'login', returnTo }
      : { kind: 'challenge', returnTo, request: sealed.request };
  await sendToProvider(context, req, res, login).catch((error: unknown) =>
    respondError(context, req, res, next, error),
  );
}

export async function sendToProvider(
  context: Context,
  req: Request,
  res: Response,
  login: LoginStart,
): Promise<void> {
  const url = await startLogin(context, req, login);
  redirect(res, req.method === 'POST' ? 303 : 302, url.href);
}
