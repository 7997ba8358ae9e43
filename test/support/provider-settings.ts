import type { JWK } from 'jose';
import type { ClientMetadata } from 'oidc-provider';

/** An API that the provider knows (RFC 8707). */
export interface Resource {
  /** Separated by spaces. */
  scopes: string;
  /** Seconds; default: the provider's `accessTokenTtl`. */
  accessTokenTtl?: number;
  /** Default `opaque`. */
  format?: 'opaque' | 'jwt';
}

/** What can be changed while the provider runs. */
export interface ProviderSettings {
  /** Seconds. */
  accessTokenTtl: number;
  /** Seconds; default 14 days. */
  refreshTokenTtl: number;
  /** Every refresh gives a new refresh token; presenting an older one revokes the whole grant. */
  rotate: boolean;
  /** For so long the same refresh request is answered with the same answer, and a rotated token still works. */
  graceMs: number;
  /** `false` takes the ID token out of refresh answers, `true` puts one in where the provider gives none. */
  idTokenOnRefresh: boolean | undefined;
  /** `ask` shows pages with a form, which a Browser answers; `auto` shows none. */
  consent: 'auto' | 'ask';
  /** Who signs in; wins over `login_hint`, loses to a Browser's own `account`. Without any of them: `alice`. */
  nextLogin: string | undefined;
  /** Scopes that the user refuses whenever they are asked for: the answers then grant less. */
  denyScopes: Set<string>;
  /** More claims of an account. */
  accountClaims: (subject: string) => Record<string, unknown>;
  resources: Record<string, Resource>;
}

/** How to start a provider. */
export interface ProviderOptions extends Partial<ProviderSettings> {
  /** To come back on the port of an earlier one. */
  port?: number;
  /** Private keys; default: made once per test file. */
  keys?: JWK[];
  /** Changes to the client `web-app`, e.g. `{ token_endpoint_auth_method: 'private_key_jwt', jwks }`. */
  client?: Partial<ClientMetadata>;
  /** More clients. */
  clients?: ClientMetadata[];
  /** More scopes than {@link SCOPES}. */
  scopes?: string[];
}

export const SCOPES =
  'openid profile email offline_access a b c x y z read write mail.read calendar.read'.split(' ');

export const R1 = 'https://r1.example';
export const R2 = 'https://r2.example';

const RESOURCE_SCOPES = 'read write a b c x y z mail.read calendar.read';

/** The settings a provider starts with. */
export function defaultSettings(options: ProviderOptions): ProviderSettings {
  return {
    accessTokenTtl: options.accessTokenTtl ?? 3600,
    refreshTokenTtl: options.refreshTokenTtl ?? 14 * 24 * 3600,
    rotate: options.rotate ?? true,
    graceMs: options.graceMs ?? 0,
    idTokenOnRefresh: options.idTokenOnRefresh,
    consent: options.consent ?? 'auto',
    nextLogin: options.nextLogin,
    denyScopes: options.denyScopes ?? new Set(),
    accountClaims: options.accountClaims ?? (() => ({})),
    resources: { [R1]: { scopes: RESOURCE_SCOPES }, [R2]: { scopes: RESOURCE_SCOPES }, ...options.resources },
  };
}
