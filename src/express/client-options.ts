import { ConfigurationError } from '../core/errors.ts';
import type { ClientAuthFunction, ClientAuthMethod, ClientPrivateKey } from '../protocol/client-auth.ts';
import { choice } from './option-values.ts';
import type { AuthOptions } from './options.ts';

const CLIENT_AUTH_METHODS = [
  'auto',
  'client_secret_basic',
  'client_secret_post',
  'client_secret_jwt',
  'private_key_jwt',
  'tls_client_auth',
  'none',
] as const;

/** How the client authenticates; a method whose secret or key is missing is refused at once. */
export function parseClientAuth(
  options: AuthOptions,
  clientSecret: string | undefined,
): ClientAuthMethod | ClientAuthFunction {
  if (typeof options.clientAuth === 'function') return options.clientAuth;
  const method = choice(options.clientAuth, CLIENT_AUTH_METHODS, 'clientAuth') ?? 'auto';
  if (method.startsWith('client_secret') && clientSecret === undefined) {
    throw new ConfigurationError(
      `clientAuth ${method} needs a client secret: pass clientSecret or set OIDC_CLIENT_SECRET.`,
    );
  }
  if (method === 'private_key_jwt' && options.clientPrivateKey === undefined) {
    throw new ConfigurationError('clientAuth private_key_jwt needs clientPrivateKey, a private JWK.');
  }
  return method;
}

export function parsePrivateKey(jwk: ClientPrivateKey | undefined): ClientPrivateKey | undefined {
  if (jwk !== undefined && (typeof jwk?.kty !== 'string' || typeof jwk.d !== 'string'))
    throw new TypeError('clientPrivateKey must be a private JWK, an object with kty and d');
  return jwk;
}
