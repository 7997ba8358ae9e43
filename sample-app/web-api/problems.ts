import type { ErrorRequestHandler } from 'express';
import { OidcTokensError } from 'express-oidc-tokens';

/** `status` and `headers` come with the error, `WWW-Authenticate` among them; Express would write a page around it. */
export const answerInJson: ErrorRequestHandler = (error, _request, response, next) => {
  if (response.headersSent) return next(error);
  if (error instanceof OidcTokensError) {
    if (error.status >= 500) console.error('web API:', error.message);
    response
      .status(error.status)
      .set(error.headers ?? {})
      .json(error);
    return;
  }
  console.error('web API:', error);
  response.status(502).json({ message: 'What this API needs for its answer could not be had.' });
};
