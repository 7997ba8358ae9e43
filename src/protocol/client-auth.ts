import { type CryptoKey, importJWK, type JWK } from 'jose';
import {
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretJwt,
  ClientSecretPost,
  None,
  PrivateKeyJwt,
  type ServerMetadata,
  TlsClientAuth,
} from 'openid-client';
import { ConfigurationError } from '../core/errors.ts';
import { listed } from './metadata.ts';

export type ClientAuthMethod =
  | 'auto'
  | 'client_secret_basic'
  | 'client_secret_post'
  | 'client_secret_jwt'
  | 'private_key_jwt'
  | 'tls_client_auth'
  | 'none';

/** A way of authenticating at the token endpoint that this package does not have (openid-client's type). */
export type ClientAuthFunction = ClientAuth;

/** A private key for `private_key_jwt`, as a JWK. */
export type ClientPrivateKey = Readonly<Record<string, unknown>>;

export interface ClientCredentials {
  readonly clientAuth: ClientAuthMethod | ClientAuthFunction;
  readonly clientSecret: string | undefined;
  readonly clientPrivateKey: ClientPrivateKey | undefined;
}

/** How this client authenticates; `auto` looks at the provider's metadata at each request. */
export async function clientAuthentication(credentials: ClientCredentials): Promise<ClientAuth> {
  const { clientAuth, clientSecret, clientPrivateKey } = credentials;
  if (typeof clientAuth === 'function') return clientAuth;
  const privateKey = clientPrivateKey === undefined ? undefined : await importPrivateKey(clientPrivateKey);
  if (clientAuth !== 'auto') return byMethod(clientAuth, clientSecret, privateKey);
  const made = new Map<string, ClientAuth>();
  return (server, client, body, headers) => {
    const method = offeredMethod(server, credentials);
    const authenticate = made.get(method) ?? byMethod(method, clientSecret, privateKey);
    made.set(method, authenticate);
    return authenticate(server, client, body, headers);
  };
}

type PrivateKey = { key: CryptoKey; kid?: string };
type FixedMethod = Exclude<ClientAuthMethod, 'auto'>;

function byMethod(
  method: FixedMethod,
  clientSecret: string | undefined,
  privateKey: PrivateKey | undefined,
): ClientAuth {
  switch (method) {
    case 'client_secret_post':
      return ClientSecretPost(clientSecret);
    case 'client_secret_basic':
      return ClientSecretBasic(clientSecret);
    case 'client_secret_jwt':
      return ClientSecretJwt(clientSecret);
    case 'private_key_jwt':
      return PrivateKeyJwt(privateKey as PrivateKey);
    case 'tls_client_auth':
      return TlsClientAuth();
    case 'none':
      return None();
  }
}

/**
 * What discovery offers, post before basic: several real providers do not decode an escaped client id in the
 * Basic header. Without metadata it is basic (OpenID Connect Discovery §3).
 */
function offeredMethod(server: ServerMetadata, credentials: ClientCredentials): FixedMethod {
  if (credentials.clientPrivateKey !== undefined) return 'private_key_jwt';
  if (credentials.clientSecret === undefined) return 'none';
  const offered = listed(server.token_endpoint_auth_methods_supported) ?? ['client_secret_basic'];
  const method = (['client_secret_post', 'client_secret_basic', 'client_secret_jwt'] as const).find(
    (candidate) => offered.includes(candidate),
  );
  return method ?? 'client_secret_post';
}

async function importPrivateKey(jwk: ClientPrivateKey): Promise<PrivateKey> {
  const { kid, alg } = jwk as JWK;
  const algorithm = alg ?? (jwk.kty === 'RSA' ? 'RS256' : undefined);
  const key = await importJWK(jwk as JWK, algorithm).catch((cause: unknown) => {
    throw new ConfigurationError(
      'clientPrivateKey cannot be read: it must be a private JWK with kty, d and alg.',
      cause,
    );
  });
  if (key instanceof Uint8Array || key.type !== 'private')
    throw new ConfigurationError('clientPrivateKey must be an asymmetric private JWK.');
  return kid === undefined ? { key } : { key, kid };
}
