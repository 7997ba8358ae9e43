import type { NextFunction, Request, Response } from 'express';
import { LoginError, OidcTokensError, ProviderUnavailableError } from '../core/errors.ts';
import { homePath } from '../core/return-to.ts';
import type { Context } from './context.ts';
import { sendPage } from './pages.ts';

/**
 * Ends a login or logout that failed: in the app's own error handler where it has one, else with a page, or JSON for
 * a client that does not name HTML. Express's default handler would show a stack trace in development.
 */
export function respondError(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
  error: unknown,
): void {
  if (!(error instanceof OidcTokensError) || hasErrorHandler(req.app)) {
    next(error);
    return;
  }
  logFailure(context, error);
  if (error.headers) res.set(error.headers);
  if (!req.accepts(['json', 'html']) || req.accepts(['html', 'json']) === 'json') {
    res.status(error.status).set('Cache-Control', 'no-store').json(publicError(error));
    return;
  }
  const { baseUrl, routes } = context.settings;
  sendPage(res, {
    status: error.status,
    title: error.status === 503 ? 'Please try again in a moment' : 'Signing in did not work',
    text: pageText(error),
    action:
      routes.login === false || isDenied(error)
        ? { href: homePath(baseUrl), label: 'Back to the app' }
        : { href: homePath(baseUrl).replace(/\/$/, '') + routes.login, label: 'Sign in again' },
  });
}

/** The page tells the user little; the log tells the operator why. */
function logFailure({ settings }: Context, error: OidcTokensError): void {
  const details = {
    code: error.code,
    ...(error instanceof LoginError ? { error: error.error } : {}),
    ...causeOf(error),
  };
  if (error.status >= 500) settings.logger.error(error.message, details);
  else if (isDenied(error)) settings.logger.info(error.message, details);
  else settings.logger.warn(error.message, details);
}

/** The innermost one says most: around it are a library's "something went wrong" and fetch's "fetch failed". */
function causeOf({ cause }: Error): { cause?: string } {
  if (!(cause instanceof Error)) return {};
  return { ...(cause.message === '' ? {} : { cause: cause.message }), ...causeOf(cause) };
}

function publicError(error: OidcTokensError): object {
  if (!(error instanceof LoginError)) return { error: error.code, message: pageText(error) };
  return { error: error.code, message: error.message, providerError: error.error };
}

/** What a user may read: the set-up of the app is nobody's business but its operator's. */
function pageText(error: OidcTokensError): string {
  if (isDenied(error))
    return 'You did not allow the access that was asked for, or your provider does not. Nothing else has changed.';
  if (error instanceof LoginError)
    return error.errorDescription === undefined
      ? error.message
      : `${error.message} ${error.errorDescription}`;
  if (error instanceof ProviderUnavailableError || error.status === 503)
    return 'The service that signs you in cannot be reached just now.';
  return 'The sign-in of this app is not set up correctly. Its operator finds the reason in the log.';
}

function isDenied(error: OidcTokensError): boolean {
  return error instanceof LoginError && error.error === 'access_denied';
}

interface RoutedApp {
  readonly parent?: unknown;
  /** Express 4. There `router` exists too, and throws when it is read. */
  readonly _router?: Stack;
  /** Express 5. */
  readonly router?: Stack;
}

interface Stack {
  readonly stack?: readonly { readonly handle?: unknown }[];
}

/** Express tells error handlers by their four parameters; so do we. */
function hasErrorHandler(app: unknown): boolean {
  for (let current = app; typeof current === 'function'; current = (current as RoutedApp).parent) {
    const { _router: express4 } = current as RoutedApp;
    const { stack = [] } = express4 ?? (current as RoutedApp).router ?? {};
    if (stack.some(({ handle }) => typeof handle === 'function' && handle.length === 4)) return true;
  }
  return false;
}
