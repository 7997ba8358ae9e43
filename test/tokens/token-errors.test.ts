import { expect, test } from '@jest/globals';
import {
  ConfigurationError,
  ProviderUnavailableError,
  ScopeNotGrantedError,
  StoreUnavailableError,
  TokenEndpointError,
} from '../../src/core/errors.ts';
import { interactionError, mayServeStale } from '../../src/tokens/token-errors.ts';
import { NOW, request, token } from '../core/fixtures.ts';

const failed = new TokenEndpointError('It answered with an error.', { error: 'invalid_request' });

test.each<[string, unknown, boolean]>([
  ['a provider that does not answer', new ProviderUnavailableError('down'), true],
  ['a client that is refused', new ConfigurationError('wrong secret'), true],
  ['a store that does not answer', new StoreUnavailableError('down'), true],
  ['another error of the provider', failed, true],
  ['an answer that is not to be believed', new TokenEndpointError('of another user'), false],
  ['a user who must come', interactionError('signed_out', request()), false],
  ['a scope that is never granted', new ScopeNotGrantedError(['a']), false],
  ['a mistake of ours', new TypeError('undefined'), false],
])('a token about to end is served: %s: %p', (_name, error, isServed) => {
  expect(mayServeStale(token({ scopes: 'a', expiresAt: NOW + 1 }), error, NOW)).toBe(isServed);
  expect(mayServeStale(token({ scopes: 'a', expiresAt: NOW }), error, NOW)).toBe(false);
  expect(mayServeStale(undefined, error, NOW)).toBe(false);
});
