import { createLocalJWKSet, type JWK, jwtVerify } from 'jose';
import { errors, type Provider, type TokenEndpointGrantContext } from 'oidc-provider';
import type { ProviderSettings } from './provider-settings.ts';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ACCESS_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token';

interface Parameters {
  subject_token?: string;
  subject_token_type?: string;
  assertion?: string;
  requested_token_use?: string;
  audience?: string;
}

function publicKeys(keys: readonly JWK[]): JWK[] {
  return keys.map(({ d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...key }) => key);
}

/** Whose token it is: an opaque one that this provider stores, or a JWT that it signed. */
async function subjectOf(oidc: Provider, keys: readonly JWK[], token: string): Promise<string | undefined> {
  const stored = await oidc.AccessToken.find(token);
  if (stored) return stored.accountId;
  const keySet = createLocalJWKSet({ keys: publicKeys(keys) });
  const verified = await jwtVerify(token, keySet, { issuer: oidc.issuer, currentDate: new Date() }).catch(
    () => undefined,
  );
  return verified?.payload.sub;
}

function incomingToken({ grant_type, ...params }: Parameters & { grant_type: string }): string | undefined {
  if (grant_type === JWT_BEARER) {
    return params.requested_token_use === 'on_behalf_of' ? params.assertion : undefined;
  }
  return params.subject_token_type === ACCESS_TOKEN_TYPE ? params.subject_token : undefined;
}

/**
 * Adds the two on-behalf-of grants, which oidc-provider does not have: RFC 8693 token exchange, and `jwt-bearer` with
 * `requested_token_use=on_behalf_of` as Microsoft Entra ID does it. They give an access token of the incoming token's
 * subject, for `resource` or `audience`, and no refresh token.
 */
export function registerOnBehalfOf(oidc: Provider, keys: readonly JWK[], settings: ProviderSettings): void {
  const handle = async (ctx: TokenEndpointGrantContext<Parameters>): Promise<void> => {
    const { client, params } = ctx.oidc;
    const incoming = incomingToken(params);
    if (!incoming) throw new errors.InvalidRequest('no access token to act on behalf of');
    const accountId = await subjectOf(oidc, keys, incoming);
    if (!accountId) throw new errors.InvalidGrant('the incoming token is not valid');
    const target = [params.resource ?? params.audience].flat()[0];
    const resource = target === undefined ? undefined : settings.resources[target];
    if (target !== undefined && !resource) throw new errors.InvalidTarget('unknown resource');
    const grant = new oidc.Grant({ accountId, clientId: client.clientId });
    const grantId = await grant.save();
    const token = new oidc.AccessToken({ accountId, client, grantId, gty: params.grant_type });
    if (target !== undefined && resource) {
      const accessTokenTTL = resource.accessTokenTtl ?? settings.accessTokenTtl;
      const accessTokenFormat = resource.format ?? 'opaque';
      const sign = { jwt: { sign: { alg: 'RS256' as const } } };
      token.resourceServer = new oidc.ResourceServer(target, {
        scope: resource.scopes,
        audience: target,
        accessTokenTTL,
        accessTokenFormat,
        ...(accessTokenFormat === 'jwt' ? sign : {}),
      });
    }
    if (params.scope !== undefined) token.scope = params.scope;
    const access_token = await token.save();
    const { expiration: expires_in, scope, tokenType: token_type } = token;
    ctx.body = { access_token, expires_in, scope, token_type, issued_token_type: ACCESS_TOKEN_TYPE };
  };
  const parameters = [
    'subject_token',
    'subject_token_type',
    'assertion',
    'requested_token_use',
    'requested_token_type',
    'audience',
    'resource',
    'scope',
  ];
  oidc.registerGrantType(TOKEN_EXCHANGE, handle, parameters, ['resource', 'audience']);
  oidc.registerGrantType(JWT_BEARER, handle, parameters, ['resource', 'audience']);
}
