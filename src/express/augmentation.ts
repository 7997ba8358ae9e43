import type { TokenRequestInput } from '../core/token-request.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import type { Bearer } from './guards/requires-bearer.ts';
import type { OnBehalfOfResult, RequestOidc, ResponseOidc } from './request-surface.ts';

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
      /**
       * Calls an API with an access token: one retry when it refused this token; where only the user can get what it
       * wants, it rejects with `InteractionRequiredError` and the response becomes the challenge.
       */
      fetchWithToken(
        url: string | URL,
        init?: RequestInit,
        request?: TokenRequestInput,
      ): Promise<globalThis.Response>;
      /** The caller's access token, after `requiresBearer`. */
      bearer?: Bearer;
      /** After `requiresBearer`: a token for another API, on behalf of the caller's user. */
      getTokenOnBehalfOf(request?: TokenRequestInput): Promise<OnBehalfOfResult>;
    }
    interface Response {
      /** The login and logout routes, from the app's own code. */
      oidc: ResponseOidc;
    }
  }
}
