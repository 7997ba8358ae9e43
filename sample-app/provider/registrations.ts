import { type ClientMetadata, errors } from 'oidc-provider';
import type { ApiName, ApiRule, Client } from '../settings.ts';
import { TOKEN_EXCHANGE } from './token-exchange.ts';

export interface LocalProviderOptions {
  issuer: string;
  /** Of the web app. */
  baseUrl: string;
  app: Client;
  /** The web API as a client: it exchanges tokens. */
  api: Client;
  rules: Partial<Record<ApiName, ApiRule>>;
  accessTokenSeconds: number;
}

/** The web app and its API. The directory asks for no tokens: it is no client. */
export function clientsOf({ app, api, baseUrl }: LocalProviderOptions): ClientMetadata[] {
  return [
    {
      ...registered(app),
      client_name: 'the sample app',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      redirect_uris: [`${baseUrl}/callback`],
      post_logout_redirect_uris: [baseUrl, `${baseUrl}/`],
    },
    {
      ...registered(api),
      client_name: "the sample's web API",
      grant_types: [TOKEN_EXCHANGE],
      response_types: [],
      redirect_uris: [],
    },
  ];
}

function registered({ clientId, clientSecret }: Client) {
  return { client_id: clientId, ...(clientSecret ? { client_secret: clientSecret } : {}) };
}

/** What a token request without exchange may be about: the app's own API with client credentials, else a user's. */
export function scopeAt(rules: LocalProviderOptions['rules'], resource: string, grantType: unknown): string {
  const { statistics, directory: _exchangeOnly, ...forUsers } = rules;
  const allowed = grantType === 'client_credentials' ? [statistics] : Object.values(forUsers);
  const rule = allowed.find((one) => one?.audience === resource);
  if (!rule) throw new errors.InvalidTarget();
  return rule.scope;
}

export function signedTokens(accessTokenTTL: number) {
  return { accessTokenTTL, accessTokenFormat: 'jwt' as const, jwt: { sign: { alg: 'RS256' as const } } };
}
