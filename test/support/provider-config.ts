import type { JWK } from 'jose';
import {
  type ClientMetadata,
  type Configuration,
  errors,
  interactionPolicy,
  type KoaContextWithOIDC,
  type ResourceServer,
} from 'oidc-provider';
import { wantedAccount } from './provider-interaction.ts';
import type { ProviderSettings } from './provider-settings.ts';

const { Check, Prompt, base } = interactionPolicy;

/** What never changes while a provider object lives. */
export interface FixedConfiguration {
  adapter: Configuration['adapter'];
  clients: ClientMetadata[];
  keys: JWK[];
  scopes: string[];
}

/** oidc-provider's own policy, with step-up by `acr_values` and a change of account without a prior logout. */
function policy(settings: ProviderSettings): interactionPolicy.DefaultPolicy {
  const prompts = base();
  prompts.add(new Prompt({ name: 'select_account', requestable: true }), 0);
  const login = prompts.get('login');
  login?.checks.add(
    new Check('other_account', 'another account is to sign in', 'login_required', (ctx) => {
      const wanted = wantedAccount(ctx, settings);
      return wanted !== undefined && !ctx.oidc.result?.login && ctx.oidc.session?.accountId !== wanted;
    }),
  );
  login?.checks.add(
    new Check('acr_values', 'a stronger sign-in is needed', 'unmet_authentication_requirements', (ctx) => {
      const asked = ctx.oidc.params?.acr_values;
      if (typeof asked !== 'string' || ctx.oidc.result?.login) return false;
      return !asked.split(' ').includes(ctx.oidc.session?.acr ?? '');
    }),
  );
  return prompts;
}

/** Grants whatever is asked for, except `denyScopes`; with `consent: 'ask'` the page decides instead. */
function loadGrant(settings: ProviderSettings): NonNullable<Configuration['loadExistingGrant']> {
  return async function loadExistingGrant(ctx) {
    const { client, provider, session, result } = ctx.oidc;
    if (!client || !session?.accountId) return undefined;
    const { accountId } = session;
    const grantId = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
    const existing = grantId ? await provider.Grant.find(grantId) : undefined;
    if (settings.consent === 'ask') return existing;
    const grant = existing ?? new provider.Grant({ accountId, clientId: client.clientId });
    for (const scope of ctx.oidc.requestParamOIDCScopes) {
      if (settings.denyScopes.has(scope)) grant.rejectOIDCScope(scope);
      else grant.addOIDCScope(scope);
    }
    grant.addOIDCClaims([...ctx.oidc.requestParamClaims]);
    for (const [resource, { scopes }] of Object.entries(ctx.oidc.resourceServers ?? {})) {
      for (const scope of scopes) {
        if (!ctx.oidc.requestParamScopes.has(scope)) continue;
        if (settings.denyScopes.has(scope)) grant.rejectResourceScope(resource, scope);
        else grant.addResourceScope(resource, scope);
      }
    }
    await grant.save();
    return grant;
  };
}

function resourceServer(settings: ProviderSettings, indicator: string): ResourceServer {
  const resource = settings.resources[indicator];
  if (!resource) throw new errors.InvalidTarget('unknown resource');
  const format = resource.format ?? 'opaque';
  return {
    scope: resource.scopes,
    audience: indicator,
    accessTokenTTL: resource.accessTokenTtl ?? settings.accessTokenTtl,
    accessTokenFormat: format,
    ...(format === 'jwt' ? { jwt: { sign: { alg: 'RS256' as const } } } : {}),
  };
}

/** A page whose form submits itself, as many providers' logout page does after the user has agreed once. */
function logoutPage(ctx: KoaContextWithOIDC, form: string): void {
  const agreed = form.replace('</form>', '<input type="hidden" name="logout" value="yes"/></form>');
  ctx.body = `<!DOCTYPE html><title>Signing out</title>${agreed}<script>document.forms[0].submit()</script>`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The complete configuration of oidc-provider; everything that may change later is read from `settings` each time. */
export function configuration(settings: ProviderSettings, fixed: FixedConfiguration): Configuration {
  const on = { enabled: true };
  return {
    adapter: fixed.adapter,
    clients: fixed.clients,
    jwks: { keys: fixed.keys as NonNullable<Configuration['jwks']>['keys'] },
    scopes: fixed.scopes,
    acrValues: ['pwd', 'mfa', 'phr'],
    claims: {
      openid: ['sub', 'sid', 'acr', 'amr', 'auth_time'],
      email: ['email', 'email_verified'],
      profile: ['name', 'given_name', 'preferred_username', 'groups', 'roles', 'tenant'],
    },
    // Without this, claims of `profile` and `email` are in the userinfo answer only.
    conformIdTokenClaims: false,
    clockTolerance: 5,
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      'none',
    ],
    cookies: {
      keys: ['test'],
      long: { sameSite: 'lax', httpOnly: true },
      short: { sameSite: 'lax', httpOnly: true },
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: on,
      claimsParameter: on,
      clientCredentials: on,
      introspection: { enabled: true, allowedPolicy: () => true },
      pushedAuthorizationRequests: on,
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId,
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: logoutPage,
        postLogoutSuccessSource: (ctx) => {
          ctx.body = '<!DOCTYPE html><title>Signed out</title>signed out';
        },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf,
        useGrantedResource: () => false,
        getResourceServerInfo: (_ctx, indicator) => resourceServer(settings, indicator),
      },
    },
    // oidc-provider refuses loopback addresses (SSRF), where back-channel logout goes in tests: leave its dispatcher out.
    fetch: (url, { method, headers, body, redirect, signal } = {}) =>
      fetch(url, { method, headers, body, redirect, signal } as RequestInit),
    findAccount: (_ctx, subject) => ({
      accountId: subject,
      claims: () => ({
        sub: subject,
        name: capitalized(subject),
        given_name: capitalized(subject),
        preferred_username: subject,
        email: `${subject}@example.com`,
        email_verified: true,
        ...settings.accountClaims(subject),
      }),
    }),
    interactions: { policy: policy(settings), url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: loadGrant(settings),
    // oidc-provider drops `offline_access` without `prompt=consent`, so neither of these two may look at it.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    pkce: { required: () => true },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = `<!DOCTYPE html><title>${out.error}</title>${out.error}: ${out.error_description ?? ''}`;
    },
    rotateRefreshToken: () => settings.rotate,
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? settings.accessTokenTtl,
      ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? settings.accessTokenTtl,
      AuthorizationCode: 60,
      Grant: 365 * 24 * 3600,
      IdToken: 3600,
      Interaction: 3600,
      RefreshToken: () => settings.refreshTokenTtl,
      Session: 14 * 24 * 3600,
    },
  };
}
