import type { Request } from 'express';
import type { IdTokenClaims } from '../core/claims.ts';
import { ConfigurationError } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';
import { parseScopes, type ScopeSet, withoutOpenIdScopes } from '../core/scopes.ts';
import type { Account } from '../core/token-cache.ts';
import { parseResource, type RequestDefaults, type Target } from '../core/token-request.ts';
import type { AuthorizationParams } from '../protocol/authorization-request.ts';
import type { ClientAuthFunction, ClientAuthMethod, ClientPrivateKey } from '../protocol/client-auth.ts';
import { type Fetch, isSecureUrl } from '../protocol/fetch.ts';
import { ASYMMETRIC_ALGORITHMS } from '../protocol/jwt.ts';
import type { RingKey } from '../storage/encryption.ts';
import { consoleLogger, parseLogger } from './logger.ts';
import {
  choice,
  enabled,
  fail,
  functionOrUndefined,
  knownFields,
  milliseconds,
  nonEmpty,
  parseEncryptionKeys,
  parseRoute,
  parseUrl,
  positive,
  takeText,
} from './option-values.ts';

/** A resource server that `req.getToken('name')` can name. */
export interface ResourceOptions {
  /** The `resource` parameter (RFC 8707): an absolute URI. */
  resource?: string;
  /** The `audience` parameter, for providers that have no `resource`. */
  audience?: string;
  scopes: string | readonly string[];
}

export interface RouteOptions {
  /** Default `/login`. */
  login?: string | false;
  /** Default `/callback`. Register `baseUrl` + this at the provider. */
  callback?: string;
  /** Default `/logout`. */
  logout?: string | false;
}

/** What `auth()` takes. All of it has a default or an environment variable but the client's registration. */
export interface AuthOptions {
  /** The provider's name for itself, a URL. Default: `OIDC_ISSUER`. */
  issuer?: string;
  /** Default: `OIDC_CLIENT_ID`. */
  clientId?: string;
  /** Default: `OIDC_CLIENT_SECRET`. Left out for a public client. */
  clientSecret?: string;
  /** Where browsers see the app, with its path if it has one. Default: `OIDC_BASE_URL`. */
  baseUrl?: string;
  /** As in express-openid-connect; the same as `issuer`. */
  issuerBaseURL?: string;
  /** As in express-openid-connect; the same as `clientId`. */
  clientID?: string;
  /** As in express-openid-connect; the same as `baseUrl`. */
  baseURL?: string;
  /** Of the login. Default `openid profile email offline_access`. */
  scopes?: string | readonly string[];
  /** APIs by name, for `req.getToken('name')`; their `resource` is named in every login (RFC 8707 §2). */
  resources?: Readonly<Record<string, ResourceOptions>>;
  /** How the client authenticates. Default `auto`: what discovery offers. */
  clientAuth?: ClientAuthMethod | ClientAuthFunction;
  /** The private JWK for `private_key_jwt` (RFC 7523 §2.2). */
  clientPrivateKey?: ClientPrivateKey;
  routes?: RouteOptions;
  /** Default `query`. */
  responseMode?: 'query' | 'form_post';
  /** RFC 9126. Default `auto`: where the provider demands it. */
  pushedAuthorizationRequests?: 'auto' | 'always' | 'never';
  /** The one algorithm ID tokens are signed with. Default `RS256`. */
  idTokenSigningAlg?: string;
  /** More parameters of every authorization request. */
  authorizationParams?: AuthorizationParams;
  /** Keys of 32 bytes (or their base64) for encryption at rest; the first encrypts. Default: `OIDC_ENCRYPTION_KEYS`, `kid:base64,…`. */
  encryptionKeys?: readonly { kid: string; key: string | Uint8Array }[];
  /** Lets tokens lie readable in the session store. */
  allowUnencryptedTokens?: boolean;
  /** How long a caller of `getToken` waits for a refresh, in milliseconds. Default 6000. */
  callerTimeoutMs?: number;
  /** How long a grant may take, in milliseconds. Default 25000: a short one loses rotated refresh tokens. */
  grantTimeoutMs?: number;
  /** How far the provider's clock may be off, in seconds. Default 30. */
  clockTolerance?: number;
  /** Lifetime of access tokens without `expires_in`, in seconds. Default 300. */
  defaultLifetime?: number;
  /** Access tokens kept per account. Default 250. */
  maxTokens?: number;
  /** The longest `Retry-After` that is obeyed, in milliseconds. Default 60000. */
  maxRetryAfterMs?: number;
  /** How long reading a record from the session store may take, in milliseconds. Default 1000. */
  storeReadTimeoutMs?: number;
  /** How long writing a record to the session store may take, in milliseconds. Default 2000. */
  storeWriteTimeoutMs?: number;
  /** Runs after the session id has changed and before the session is saved; a throw aborts the login. */
  afterLogin?: (req: Request, login: { account: Account; claims: IdTokenClaims }) => void | Promise<void>;
  /** For proxies and mutual TLS. Default: the global `fetch`. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Default: warnings and errors to the console. */
  logger?: Logger;
  /** Lets the provider be plain `http:` on other than loopback addresses. */
  allowInsecureRequests?: boolean;
}

/** The total form of the options. */
export interface Settings {
  readonly issuer: URL;
  readonly clientId: string;
  readonly clientSecret: string | undefined;
  readonly clientPrivateKey: ClientPrivateKey | undefined;
  readonly clientAuth: ClientAuthMethod | ClientAuthFunction;
  readonly baseUrl: URL;
  /** As it was given: what is registered at the provider for the way back from a logout. */
  readonly postLogoutRedirectUri: string;
  readonly redirectUri: string;
  readonly scopes: ScopeSet;
  readonly resources: readonly string[];
  readonly requestDefaults: RequestDefaults;
  readonly routes: {
    readonly login: string | false;
    readonly callback: string;
    readonly logout: string | false;
  };
  readonly responseMode: 'query' | 'form_post';
  readonly pushedAuthorizationRequests: 'auto' | 'always' | 'never';
  readonly idTokenSigningAlg: string;
  readonly authorizationParams: AuthorizationParams;
  /** Undefined: tokens are not encrypted, as the app asked. Empty: none configured. */
  readonly encryptionKeys: readonly RingKey[] | undefined;
  readonly isProduction: boolean;
  readonly callerTimeoutMs: number;
  readonly grantTimeoutMs: number;
  readonly clockTolerance: number;
  readonly defaultLifetime: number;
  readonly maxTokens: number;
  readonly maxRetryAfterMs: number;
  readonly storeReadTimeoutMs: number;
  readonly storeWriteTimeoutMs: number;
  readonly afterLogin: AuthOptions['afterLogin'];
  readonly fetch: Fetch;
  readonly logger: Logger;
  readonly allowInsecureRequests: boolean;
}

const NAMES = [
  'issuer',
  'clientId',
  'clientSecret',
  'baseUrl',
  'issuerBaseURL',
  'clientID',
  'baseURL',
  'scopes',
  'resources',
  'clientAuth',
  'clientPrivateKey',
  'routes',
  'responseMode',
  'pushedAuthorizationRequests',
  'idTokenSigningAlg',
  'authorizationParams',
  'encryptionKeys',
  'allowUnencryptedTokens',
  'callerTimeoutMs',
  'grantTimeoutMs',
  'clockTolerance',
  'defaultLifetime',
  'maxTokens',
  'maxRetryAfterMs',
  'storeReadTimeoutMs',
  'storeWriteTimeoutMs',
  'afterLogin',
  'fetch',
  'logger',
  'allowInsecureRequests',
] as const satisfies readonly (keyof AuthOptions)[];

const CLIENT_AUTH_METHODS = [
  'auto',
  'client_secret_basic',
  'client_secret_post',
  'client_secret_jwt',
  'private_key_jwt',
  'tls_client_auth',
  'none',
] as const;

const DEFAULT_SCOPES = 'openid profile email offline_access';

/** Parameters of an authorization request that this package sets; everything rests on them. */
const RESERVED_PARAMS = [
  'client_id',
  'redirect_uri',
  'response_type',
  'state',
  'nonce',
  'code_challenge',
  'code_challenge_method',
  'scope',
  'request',
  'request_uri',
  'response_mode',
];

/**
 * @throws {TypeError} for a value of the wrong kind.
 * @throws {ConfigurationError} for a missing or contradictory one. Both say what to do.
 */
export function parseOptions(options: AuthOptions = {}, env: NodeJS.ProcessEnv = process.env): Settings {
  knownFields(options, NAMES, 'auth()');
  const isProduction = env.NODE_ENV === 'production';
  const allowInsecureRequests = enabled(options.allowInsecureRequests, 'allowInsecureRequests');
  const issuer = parseIssuer(
    required(options, env, 'issuer', ['issuerBaseURL'], ['OIDC_ISSUER', 'ISSUER_BASE_URL']),
    allowInsecureRequests,
  );
  const clientId = required(options, env, 'clientId', ['clientID'], ['OIDC_CLIENT_ID', 'CLIENT_ID']);
  const clientSecret = takeText(options, env, ['clientSecret'], ['OIDC_CLIENT_SECRET', 'CLIENT_SECRET']);
  const base = required(options, env, 'baseUrl', ['baseURL'], ['OIDC_BASE_URL', 'BASE_URL']);
  const baseUrl = parseUrl(base, 'baseUrl (OIDC_BASE_URL)');
  const routes = parseRoutes(options.routes);
  const authorizationParams = parseAuthorizationParams(options.authorizationParams);
  const scopes = parseLoginScopes(options.scopes ?? DEFAULT_SCOPES);
  const resources = parseResources(options.resources);
  const ownResources = [authorizationParams.resource ?? []].flat();
  const named = Object.values(resources).flatMap((entry) =>
    entry.resource === undefined ? [] : [entry.resource],
  );
  return Object.freeze({
    issuer,
    clientId,
    clientSecret,
    clientPrivateKey: options.clientPrivateKey,
    clientAuth: parseClientAuth(options, clientSecret),
    baseUrl,
    postLogoutRedirectUri: base,
    redirectUri: baseUrl.href.replace(/\/+$/, '') + routes.callback,
    scopes,
    resources: [...new Set([...ownResources, ...named])],
    requestDefaults: {
      scopes: withoutOpenIdScopes(scopes),
      target: ownTarget(ownResources, authorizationParams),
      resources,
    },
    routes,
    responseMode: choice(options.responseMode, ['query', 'form_post'], 'responseMode') ?? 'query',
    pushedAuthorizationRequests:
      choice(
        options.pushedAuthorizationRequests,
        ['auto', 'always', 'never'],
        'pushedAuthorizationRequests',
      ) ?? 'auto',
    idTokenSigningAlg: parseSigningAlg(options.idTokenSigningAlg ?? 'RS256'),
    authorizationParams,
    encryptionKeys: parseEncryption(options, env, isProduction),
    isProduction,
    callerTimeoutMs: milliseconds(options.callerTimeoutMs, 'callerTimeoutMs') ?? 6000,
    grantTimeoutMs: milliseconds(options.grantTimeoutMs, 'grantTimeoutMs') ?? 25_000,
    clockTolerance: positive(options.clockTolerance, 'clockTolerance') ?? 30,
    defaultLifetime: positive(options.defaultLifetime, 'defaultLifetime') ?? 300,
    maxTokens: positive(options.maxTokens, 'maxTokens') ?? 250,
    maxRetryAfterMs: milliseconds(options.maxRetryAfterMs, 'maxRetryAfterMs') ?? 60_000,
    storeReadTimeoutMs: milliseconds(options.storeReadTimeoutMs, 'storeReadTimeoutMs') ?? 1000,
    storeWriteTimeoutMs: milliseconds(options.storeWriteTimeoutMs, 'storeWriteTimeoutMs') ?? 2000,
    afterLogin: functionOrUndefined(options.afterLogin, 'afterLogin'),
    fetch: functionOrUndefined(options.fetch, 'fetch') ?? ((url, init) => globalThis.fetch(url, init)),
    logger: options.logger === undefined ? consoleLogger : parseLogger(options.logger),
    allowInsecureRequests,
  });
}

function required(
  options: AuthOptions,
  env: NodeJS.ProcessEnv,
  name: keyof AuthOptions,
  aliases: readonly (keyof AuthOptions)[],
  variables: readonly string[],
): string {
  const value = takeText(options, env, [name, ...aliases], variables);
  if (value === undefined)
    throw new ConfigurationError(`${name} is missing: pass auth({ ${name} }) or set ${variables[0]}.`);
  return value;
}

function parseIssuer(text: string, allowInsecureRequests: boolean): URL {
  const issuer = parseUrl(text, 'issuer (OIDC_ISSUER)');
  if (!allowInsecureRequests && !isSecureUrl(issuer)) {
    throw new ConfigurationError(
      `issuer ${issuer.href} is plain http: use https, or set allowInsecureRequests: true if nobody else is on that network.`,
    );
  }
  return issuer;
}

function parseLoginScopes(input: unknown): ScopeSet {
  const scopes = parseScopes(input);
  if (!scopes.includes('openid'))
    throw new ConfigurationError('scopes must hold openid: without it the provider signs nobody in.');
  return scopes;
}

function parseRoutes(routes: RouteOptions = {}): Settings['routes'] {
  knownFields(routes, ['login', 'callback', 'logout'], 'routes');
  const parsed = {
    login: parseRoute(routes.login, 'routes.login') ?? '/login',
    callback: parseRoute(routes.callback, 'routes.callback') ?? '/callback',
    logout: parseRoute(routes.logout, 'routes.logout') ?? '/logout',
  };
  if (parsed.callback === false)
    throw new TypeError('routes.callback must be a path: the provider sends users there');
  return { ...parsed, callback: parsed.callback };
}

function parseResources(input: AuthOptions['resources'] = {}): Record<string, Target & { scopes: ScopeSet }> {
  const entries = Object.entries(input).map(([name, resource]) => {
    knownFields(resource, ['resource', 'audience', 'scopes'], `resources.${name}`);
    const target: Target = {
      resource:
        resource.resource === undefined
          ? undefined
          : parseResource(resource.resource, `resources.${name}.resource`),
      audience: nonEmpty(resource.audience, `resources.${name}.audience`),
    };
    return [name, { ...target, scopes: parseScopes(resource.scopes, `resources.${name}.scopes`) }] as const;
  });
  return Object.fromEntries(entries);
}

function parseAuthorizationParams(params: AuthorizationParams = {}): AuthorizationParams {
  for (const [name, value] of Object.entries(params)) {
    const isText =
      typeof value === 'string' ||
      (Array.isArray(value) && value.every((single) => typeof single === 'string'));
    if (!isText) throw new TypeError(`authorizationParams.${name} must be a string or an array of strings`);
    if (RESERVED_PARAMS.includes(name)) {
      throw new ConfigurationError(
        `authorizationParams.${name} cannot be set: ${name === 'scope' ? 'use the option scopes.' : 'the middleware sets it.'}`,
      );
    }
  }
  for (const resource of [params.resource ?? []].flat())
    parseResource(resource, 'authorizationParams.resource');
  return params;
}

/** What the login's own token is for: the one resource or audience that every login asks for. */
function ownTarget(resources: readonly string[], params: AuthorizationParams): Target {
  return {
    resource: resources.length === 1 ? resources[0] : undefined,
    audience: typeof params.audience === 'string' ? params.audience : undefined,
  };
}

function parseClientAuth(options: AuthOptions, clientSecret: string | undefined): Settings['clientAuth'] {
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

function parseSigningAlg(alg: string): string {
  if (!ASYMMETRIC_ALGORITHMS.includes(alg)) {
    throw new ConfigurationError(
      `idTokenSigningAlg must be one of ${ASYMMETRIC_ALGORITHMS.join(', ')}: others let whoever knows the client secret sign.`,
    );
  }
  return alg;
}

function parseEncryption(
  options: AuthOptions,
  env: NodeJS.ProcessEnv,
  isProduction: boolean,
): readonly RingKey[] | undefined {
  const keys = parseEncryptionKeys(options.encryptionKeys, env.OIDC_ENCRYPTION_KEYS);
  if (keys.length > 0) return keys;
  if (enabled(options.allowUnencryptedTokens, 'allowUnencryptedTokens')) return undefined;
  if (isProduction) {
    fail(
      'OIDC_ENCRYPTION_KEYS is missing: tokens are encrypted in the session store. Make a key with\n' +
        `  node -e "console.log('k1:' + require('crypto').randomBytes(32).toString('base64'))"\n` +
        'and give it to every process of the app.',
    );
  }
  return keys;
}
