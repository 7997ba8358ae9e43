import { clientCredentialsGrant, genericGrantRequest } from 'openid-client';
import type { Target } from '../core/token-request.ts';
import { type GrantContext, type GrantResult, runGrant, targetParameters } from './grants.ts';
import { listed } from './metadata.ts';
import type { Connection } from './provider.ts';

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

interface Asked extends Target {
  readonly scope: string;
}

/** The client credentials grant (RFC 6749 §4.4). */
export async function clientCredentials(context: GrantContext, asked: Asked): Promise<GrantResult> {
  const parameters = parametersOf(asked);
  return runGrant(context, undefined, () => clientCredentialsGrant(context.connection.config, parameters));
}

export type OnBehalfOfGrant = 'auto' | 'token_exchange' | 'jwt_bearer';

/**
 * A token for another API, for the user of `assertion`, the access token that this API was called with: by token
 * exchange (RFC 8693 §2.1), or by jwt-bearer (RFC 7523 §2.1) with `requested_token_use=on_behalf_of`.
 */
export async function onBehalfOf(
  context: GrantContext,
  asked: Asked & {
    readonly assertion: string;
    readonly grant: OnBehalfOfGrant;
    readonly claims: string | undefined;
  },
): Promise<GrantResult> {
  const parameters = parametersOf(asked);
  if (asked.claims !== undefined) parameters.set('claims', asked.claims);
  const grantType = grantTypeOf(asked.grant, context.connection);
  if (grantType === TOKEN_EXCHANGE) {
    parameters.set('subject_token', asked.assertion);
    parameters.set('subject_token_type', ACCESS_TOKEN);
  } else {
    parameters.set('assertion', asked.assertion);
    parameters.set('requested_token_use', 'on_behalf_of');
  }
  return runGrant(context, undefined, () =>
    genericGrantRequest(context.connection.config, grantType, parameters),
  );
}

/** `auto`: what discovery offers, token exchange first. */
function grantTypeOf(grant: OnBehalfOfGrant, { server }: Connection): string {
  if (grant === 'jwt_bearer') return JWT_BEARER;
  const offered = listed(server.grant_types_supported) ?? [];
  const isOnlyJwtBearer = offered.includes(JWT_BEARER) && !offered.includes(TOKEN_EXCHANGE);
  return grant === 'auto' && isOnlyJwtBearer ? JWT_BEARER : TOKEN_EXCHANGE;
}

function parametersOf(asked: Asked): URLSearchParams {
  const parameters = targetParameters(asked);
  if (asked.scope !== '') parameters.set('scope', asked.scope);
  return parameters;
}
