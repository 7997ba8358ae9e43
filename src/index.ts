import './express/augmentation.ts';

export type { IdTokenClaims } from './core/claims.ts';
export type { ErrorCode, InteractionReason } from './core/errors.ts';
export {
  BearerTokenError,
  ClaimMismatchError,
  ConfigurationError,
  InteractionRequiredError,
  LoginError,
  LogoutTokenError,
  OidcTokensError,
  ProviderUnavailableError,
  ScopeNotGrantedError,
  StoreUnavailableError,
  TokenEndpointError,
} from './core/errors.ts';
export type { Logger } from './core/ports.ts';
export type { Account } from './core/token-cache.ts';
export type { TokenRequest, TokenRequestInput } from './core/token-request.ts';
export type { AuthHandle } from './express/auth.ts';
export { auth } from './express/auth.ts';
export type { SessionTokens } from './express/for-session.ts';
export { claimCheck, claimEquals, claimIncludes } from './express/guards/claims.ts';
export type { RouteGuard } from './express/guards/decorate.ts';
export type {
  AuthenticatedHandler,
  AuthenticatedRequest,
  StepUpOptions,
} from './express/guards/requires-auth.ts';
export { requiresAuth } from './express/guards/requires-auth.ts';
export type {
  Bearer,
  BearerHandler,
  BearerOptions,
  BearerRequest,
} from './express/guards/requires-bearer.ts';
export { requiresBearer } from './express/guards/requires-bearer.ts';
export type { TokenHandler, TokenRequestInHand } from './express/guards/requires-token.ts';
export { requiresToken } from './express/guards/requires-token.ts';
export type { AuthOptions, ResourceOptions, RouteOptions } from './express/options.ts';
export type { TokenStoreOption } from './express/redis-option.ts';
export { redisTokenStore } from './express/redis-option.ts';
export type { RequestOidc } from './express/request-oidc.ts';
export type { LoginOptions, ResponseOidc } from './express/response-oidc.ts';
export type { LogoutOptions } from './express/routes/logout.ts';
export type { AppTokenResult, OnBehalfOfResult } from './express/sessionless-tokens.ts';
export type { OnBehalfOfGrant } from './protocol/app-grants.ts';
export type { AuthorizationParams } from './protocol/authorization-request.ts';
export type { ClientAuthFunction, ClientAuthMethod, ClientPrivateKey } from './protocol/client-auth.ts';
export type { TokenResult } from './tokens/acquire-silent.ts';
