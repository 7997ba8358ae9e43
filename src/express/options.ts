import type { Request } from 'express';
import type { IdTokenClaims } from '../core/claims.ts';
import type { Logger } from '../core/ports.ts';
import type { Account } from '../core/token-cache.ts';
import type { OnBehalfOfGrant } from '../protocol/app-grants.ts';
import type { AuthorizationParams } from '../protocol/authorization-request.ts';
import type { ClientAuthFunction, ClientAuthMethod, ClientPrivateKey } from '../protocol/client-auth.ts';
import type { TokenStoreOption } from './redis-option.ts';

/** A resource server that `req.getToken('name')` can name. */
export interface ResourceOptions {
  /** Where it is: `fetchWithToken` finds its token by this, and sends it nowhere else. */
  url?: string | undefined;
  /** The `resource` parameter (RFC 8707): an absolute URI. */
  resource?: string | undefined;
  /** The `audience` parameter, for providers that have no `resource`. */
  audience?: string | undefined;
  /** What is asked for at this API: separated by spaces, or an array. */
  scopes: string | readonly string[];
}

export interface RouteOptions {
  /** Default `/login`. */
  login?: string | false | undefined;
  /** Default `/callback`. Register `baseUrl` + this at the provider. */
  callback?: string | undefined;
  /** Default `/logout`. */
  logout?: string | false | undefined;
  /** Where the provider posts logout tokens (OpenID Connect Back-Channel Logout 1.0). Default `false`. */
  backchannelLogout?: string | false | undefined;
  /** What the provider's logout page shows in a frame (OpenID Connect Front-Channel Logout 1.0). Default `false`. */
  frontchannelLogout?: string | false | undefined;
}

/** What `auth()` takes. All of it has a default or an environment variable but the client's registration. */
export interface AuthOptions {
  /** The provider's name for itself, a URL. Default: `OIDC_ISSUER`. */
  issuer?: string | undefined;
  /** Default: `OIDC_CLIENT_ID`. */
  clientId?: string | undefined;
  /** Default: `OIDC_CLIENT_SECRET`. Left out for a public client. */
  clientSecret?: string | undefined;
  /** Where browsers see the app, with its path if it has one. Default: `OIDC_BASE_URL`. */
  baseUrl?: string | undefined;
  /** As in express-openid-connect; the same as `issuer`. */
  issuerBaseURL?: string | undefined;
  /** As in express-openid-connect; the same as `clientId`. */
  clientID?: string | undefined;
  /** As in express-openid-connect; the same as `baseUrl`. */
  baseURL?: string | undefined;
  /** Of the login. Default `openid profile email offline_access`. */
  scopes?: string | readonly string[] | undefined;
  /** APIs by name, for `req.getToken('name')`; their `resource` is named in every login (RFC 8707 §2). */
  resources?: Readonly<Record<string, ResourceOptions>> | undefined;
  /** How the client authenticates. Default `auto`: what discovery offers. */
  clientAuth?: ClientAuthMethod | ClientAuthFunction | undefined;
  /** The private JWK for `private_key_jwt` (RFC 7523 §2.2). */
  clientPrivateKey?: ClientPrivateKey | undefined;
  /** `false` for a web API: no routes, no users; bearer, on-behalf-of and app tokens only. */
  session?: false | undefined;
  /** The grant of `getTokenOnBehalfOf`. Default `auto`: token exchange (RFC 8693) unless discovery offers jwt-bearer alone. */
  onBehalfOfGrant?: OnBehalfOfGrant | undefined;
  /** Paths relative to where the middleware is mounted; `false` switches one off. */
  routes?: RouteOptions | undefined;
  /** Default `query`. */
  responseMode?: 'query' | 'form_post' | undefined;
  /** RFC 9126. Default `auto`: where the provider demands it. */
  pushedAuthorizationRequests?: 'auto' | 'always' | 'never' | undefined;
  /** The one algorithm ID tokens are signed with. Default `RS256`. */
  idTokenSigningAlg?: string | undefined;
  /** More parameters of every authorization request, such as `{ prompt: 'consent' }`. */
  authorizationParams?: AuthorizationParams | undefined;
  /** Keys of 32 bytes (or their base64) for encryption at rest; the first encrypts. Default: `OIDC_ENCRYPTION_KEYS`, `kid:base64,…`. */
  encryptionKeys?: readonly { kid: string; key: string | Uint8Array }[] | undefined;
  /** Lets tokens lie readable in the session store. */
  allowUnencryptedTokens?: boolean | undefined;
  /** How long a caller of `getToken` waits for a refresh, in milliseconds. Default 6000. */
  callerTimeoutMs?: number | undefined;
  /** How long a grant may take, in milliseconds. Default 25000: a short one loses rotated refresh tokens. */
  grantTimeoutMs?: number | undefined;
  /** How far the provider's clock may be off, in seconds. Default 30. */
  clockTolerance?: number | undefined;
  /** Lifetime of access tokens without `expires_in`, in seconds. Default 300. */
  defaultLifetime?: number | undefined;
  /** Access tokens kept per account. Default 250. */
  maxTokens?: number | undefined;
  /** The longest `Retry-After` that is obeyed, in milliseconds. Default 60000. */
  maxRetryAfterMs?: number | undefined;
  /** Where token caches are kept. Default: in Redis where the session store is connect-redis, else in the session store. */
  tokenStore?: TokenStoreOption | undefined;
  /** How long reading a record, or the session, may take, in milliseconds. Default 400 for Redis, 1000 for other stores and sessions. */
  storeReadTimeoutMs?: number | undefined;
  /** How long writing a record, or the session, may take, in milliseconds. Default 2000. */
  storeWriteTimeoutMs?: number | undefined;
  /** Runs after the session id has changed and before the session is saved; a throw aborts the login. */
  afterLogin?:
    | ((req: Request, login: { account: Account; claims: IdTokenClaims }) => void | Promise<void>)
    | undefined;
  /** For proxies and mutual TLS. Default: the global `fetch`. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  /** Default: warnings and errors to the console. */
  logger?: Logger | undefined;
  /** Keeps the form fields of a POST that needs a sign-in, and lets the app handle it after that. Default false. */
  preservePost?: boolean | undefined;
  /** Lets the provider be plain `http:` on other than loopback addresses. */
  allowInsecureRequests?: boolean | undefined;
}
