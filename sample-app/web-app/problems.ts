import type { ErrorRequestHandler } from 'express';
import { LoginError } from 'express-oidc-tokens';
import { sendPage } from '../html.ts';
import { problemPage, type Visitor, visitorOf } from './layout.ts';

/**
 * For the looks only. Where a user has to go to the provider, this page never arrives: the package sends the redirect
 * in its place.
 */
export const showProblem: ErrorRequestHandler = (error, request, response, next) => {
  if (response.headersSent) return next(error);
  const status: number = error?.status >= 400 && error.status < 600 ? error.status : 500;
  if (status >= 500) console.error('web app:', error);
  if (error?.headers) response.set(error.headers);
  if (error instanceof LoginError)
    return sendPage(response, status, signInProblem(visitorOf(request), error));
  const what = status === 500 ? 'The log of the web app says more.' : error.message;
  const title = titles[status] ?? 'That did not work';
  sendPage(response, status, problemPage(visitorOf(request), request.originalUrl, title, what));
};

/** The only way is home: the address that a sign-in comes back to is good for one visit. */
function signInProblem(visitor: Visitor, { error, message }: LoginError): string {
  return error === 'access_denied'
    ? problemPage(
        visitor,
        '/',
        'You did not allow it',
        'That is all right. Everything else is as it was before.',
      )
    : problemPage(visitor, '/', 'The sign-in was not completed', message);
}

const titles: Record<number, string> = {
  401: 'Please sign in first',
  403: 'Not allowed',
  502: 'The API did not give an answer',
  503: 'The provider does not answer right now',
};
