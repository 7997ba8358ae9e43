import type { NextFunction, Request, Response } from 'express';
import { homePath, publicPath, safeReturnTo } from '../../core/return-to.ts';
import { endSessionUrl } from '../../protocol/logout-request.ts';
import { isTimedOut, within } from '../../tokens/flights.ts';
import { type Context, signedIn } from '../context.ts';
import { endAccount } from '../end-account.ts';
import { redirect, refusePrefetch, sendPage } from '../pages.ts';
import { isCrossSite, isOwnVisit, isPrefetch } from '../request-kind.ts';
import { respondError } from '../respond-error.ts';
import { destroySession } from '../session.ts';
import type { Settings } from '../settings.ts';

const METADATA_TIMEOUT_MS = 1000;

export interface LogoutOptions {
  /** A path of the app, or a URL registered at the provider for the way back. Default: the base URL. */
  returnTo?: string | undefined;
}

/** `POST /logout`; `GET` only from the app's own pages or typed in, so that nobody else can log users out. */
export async function logoutRoute(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
): Promise<void> {
  const { baseUrl } = context.settings;
  if (isPrefetch(req.headers)) return refusePrefetch(res, homePath(baseUrl));
  const isForeign =
    req.method === 'POST' ? isCrossSite(req.headers, baseUrl.origin) : !isOwnVisit(req.headers);
  if (isForeign) {
    const here = publicPath(req.originalUrl.split('?', 1)[0] as string, baseUrl);
    const action = {
      // A request line can name another host (RFC 9112 §3.2.2). No browser's does, so the button may lead home.
      href: safeReturnTo(here, baseUrl),
      label: 'Sign out',
      method: 'post' as const,
    };
    sendPage(res, { status: 200, title: 'Sign out?', text: 'You will be signed out of this app.', action });
    return;
  }
  await logout(context, req, res, {}).catch((error: unknown) => respondError(context, req, res, next, error));
}

/** Local first and always; then to the provider's own logout where it has one and can be asked within a second. */
export async function logout(
  context: Context,
  req: Request,
  res: Response,
  options: LogoutOptions,
): Promise<void> {
  const { settings } = context;
  const idToken = await endSession(context, req);
  const atProvider = await providerLogout(context, { idToken, returnTo: options.returnTo });
  const here = safeReturnTo(options.returnTo, settings.baseUrl, homePath(settings.baseUrl));
  redirect(res, 303, atProvider?.href ?? here);
}

async function endSession(context: Context, req: Request): Promise<string | undefined> {
  const handle = signedIn(context, req)?.handle;
  const idToken = handle && (await endAccount(context, handle));
  await destroySession(req, context.settings.storeWriteTimeoutMs);
  return idToken;
}

async function providerLogout(
  context: Context,
  logout: { idToken: string | undefined; returnTo: string | undefined },
): Promise<URL | undefined> {
  const { settings, provider } = context;
  try {
    const connection = await within(provider.connect(), METADATA_TIMEOUT_MS);
    if (isTimedOut(connection)) return undefined;
    return endSessionUrl(connection, {
      idToken: logout.idToken,
      postLogoutRedirectUri: wayBack(settings, logout.returnTo),
    });
  } catch (error) {
    settings.logger.warn(
      'The provider could not be asked for its logout; the user is signed out of this app',
      { error: (error as Error).name },
    );
    return undefined;
  }
}

/** A path is one of the app's own, as browsers see it; a whole URL is for the provider to accept or refuse. */
function wayBack({ baseUrl, postLogoutRedirectUri }: Settings, returnTo: string | undefined): string {
  if (returnTo === undefined) return postLogoutRedirectUri;
  return URL.canParse(returnTo) ? returnTo : new URL(safeReturnTo(returnTo, baseUrl), baseUrl).href;
}
