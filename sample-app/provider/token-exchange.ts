import { createLocalJWKSet, type JWK, type JWTPayload, jwtVerify } from 'jose';
import {
  type AccessToken,
  type ClientCredentials,
  errors,
  type Provider,
  type ResourceServer,
  type TokenEndpointGrantContext,
} from 'oidc-provider';
import type { ApiRule } from '../settings.ts';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

export interface ExchangeRule extends Omit<ResourceServer, 'scope'> {
  /** The API that exchanges the tokens that it was called with. */
  own: ApiRule;
  /** The API that it gets tokens for. */
  target: ApiRule;
}

interface Parameters {
  subject_token?: string;
  subject_token_type?: string;
  resource?: string;
  scope?: string;
}

/**
 * RFC 8693, which oidc-provider does not have: an API hands in the token that it was called with and gets one for
 * another API. It is for the same user, and says in `act` which client acts. There is no refresh token.
 */
export function addTokenExchange(provider: Provider, key: JWK, rule: ExchangeRule): void {
  const { own, target, ...format } = rule;
  const keys = createLocalJWKSet({
    keys: [{ kty: key.kty, n: key.n, e: key.e, kid: key.kid, alg: key.alg }],
  } as {
    keys: JWK[];
  });

  async function exchange(ctx: TokenEndpointGrantContext<Parameters>): Promise<void> {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== ACCESS_TOKEN || !params.subject_token)
      throw new errors.InvalidRequest('subject_token is to be an access token');
    if (params.resource !== target.audience) throw new errors.InvalidTarget();
    if (params.scope !== target.scope)
      throw new errors.InvalidScope('not for this client', params.scope ?? '');
    const subject = await verified(params.subject_token);

    const token = new provider.AccessToken({
      client,
      accountId: subject.sub as string,
      grantId: '', // nothing to revoke it by: it is short-lived
      gty: 'token_exchange',
      scope: target.scope,
      extra: { ...signInOf(subject), act: { sub: client.clientId } },
    });
    token.resourceServer = new provider.ResourceServer(target.audience, {
      ...format,
      audience: target.audience,
      scope: target.scope,
    });
    ctx.oidc.entity('AccessToken', token);
    const access_token = await token.save();
    const { expiration: expires_in, tokenType: token_type, scope } = token;
    ctx.body = { access_token, issued_token_type: ACCESS_TOKEN, token_type, expires_in, scope };
  }

  /** Whoever was not meant by a token must not make another one of it: `aud` is the API that exchanges it. */
  async function verified(token: string): Promise<JWTPayload> {
    const checks = {
      issuer: provider.issuer,
      audience: own.audience,
      typ: 'at+jwt',
      currentDate: new Date(),
    };
    const { payload } = await jwtVerify(token, keys, checks).catch(() => {
      throw new errors.InvalidGrant('the subject token is not valid here');
    });
    return payload;
  }

  const parameters = ['subject_token', 'subject_token_type', 'requested_token_type', 'resource', 'scope'];
  provider.registerGrantType(TOKEN_EXCHANGE, exchange, parameters);
}

/** What the exchange has put into a token; nothing for tokens of other grants. */
export function exchangeClaims(token: AccessToken | ClientCredentials): Record<string, unknown> | undefined {
  return token.extra;
}

function signInOf({ acr, auth_time }: JWTPayload): Record<string, unknown> {
  return { ...(acr ? { acr } : {}), ...(auth_time ? { auth_time } : {}) };
}
