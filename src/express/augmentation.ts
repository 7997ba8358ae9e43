import type { TokenRequestInput } from '../core/token-request.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import type { Bearer } from './guards/requires-bearer.ts';
import type { RequestOidc } from './request-oidc.ts';
import type { ResponseOidc } from './response-oidc.ts';
import type { OnBehalfOfResult } from './sessionless-tokens.ts';

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
       *
       * @param request scopes, a name from the option `resources`, or a request. Left out: the login's own scopes.
       * @throws {InteractionRequiredError} 401; let it go to the error handler.
       * @throws {ScopeNotGrantedError} 403, when the user signed in for the scopes and they are still missing.
       * @throws {ProviderUnavailableError} 503; nothing is lost.
       * @throws {StoreUnavailableError} 503; nothing is lost.
       * @throws {TokenEndpointError} 502, for an answer of the provider that cannot be used.
       * @throws {ConfigurationError} 500, when the provider refuses this client.
       * @throws {TypeError} for a request of the wrong kind.
       */
      getToken(request?: TokenRequestInput): Promise<TokenResult>;
      /** The same without ever touching the response: catch `InteractionRequiredError` yourself. */
      getTokenSilent(request?: TokenRequestInput): Promise<TokenResult>;
      /**
       * Calls an API with an access token: one retry when it refused this token; where only the user can get what it
       * wants, it rejects with `InteractionRequiredError` and the response becomes the challenge.
       *
       * @param request left out: the entry of the option `resources` whose `url` this one is below.
       * @throws what `getToken()` throws, what `fetch()` throws, and a `TypeError` for a URL that the token is not for.
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
