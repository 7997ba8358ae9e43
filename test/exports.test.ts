import { expect, test } from '@jest/globals';
import * as api from 'express-oidc-tokens';

// The public surface. A name that comes or goes is a change of the contract: it belongs in CHANGELOG.md as well.
const publicNames = [
  'BearerTokenError',
  'ClaimMismatchError',
  'ConfigurationError',
  'InteractionRequiredError',
  'LoginError',
  'LogoutTokenError',
  'OidcTokensError',
  'ProviderUnavailableError',
  'ScopeNotGrantedError',
  'StoreUnavailableError',
  'TokenEndpointError',
  'auth',
  'claimCheck',
  'claimEquals',
  'claimIncludes',
  'redisTokenStore',
  'requiresAuth',
  'requiresBearer',
  'requiresToken',
];

test('the package exports exactly its public names', () => {
  expect(Object.keys(api).sort()).toEqual(publicNames);
});
