import type { TokenResult } from '../tokens/acquire-silent.ts';
import type { RequestOidc, ResponseOidc, TokenRequestInput } from './request-surface.ts';

declare global {
  namespace Express {
    interface Request {
      /** Who is signed in. */
      oidc: RequestOidc;
      /** The token of `requiresToken`. */
      token?: TokenResult;
      /**
       * An access token: from the cache, from a refresh, or, where only the user can help, it rejects with
       * `InteractionRequiredError` and the response becomes the challenge.
       */
      getToken(request?: TokenRequestInput): Promise<TokenResult>;
      /** The same without ever touching the response: catch `InteractionRequiredError` yourself. */
      getTokenSilent(request?: TokenRequestInput): Promise<TokenResult>;
    }
    interface Response {
      /** The login and logout routes, from the app's own code. */
      oidc: ResponseOidc;
    }
  }
}
