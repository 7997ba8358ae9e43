import { ConfigurationError } from '../core/errors.ts';
import type { Logger } from '../core/ports.ts';
import { parseScopes, type ScopeSet, withoutOpenIdScopes } from '../core/scopes.ts';
import type { RequestDefaults } from '../core/token-request.ts';
import type { OnBehalfOfGrant } from '../protocol/app-grants.ts';
import type { AuthorizationParams } from '../protocol/authorization-request.ts';
import type { ClientAuthFunction, ClientAuthMethod, ClientPrivateKey } from '../protocol/client-auth.ts';
import { type Fetch, isSecureUrl } from '../protocol/fetch.ts';
import { ASYMMETRIC_ALGORITHMS } from '../protocol/jwt.ts';
import type { RingKey } from '../storage/encryption.ts';
import type { RedisPlace } from '../storage/store-binding.ts';
import { parseClientAuth, parsePrivateKey } from './client-options.ts';
import { consoleLogger, parseLogger } from './logger.ts';
import {
  choice,
  enabled,
  fail,
  functionOrUndefined,
  knownFields,
  milliseconds,
  parseEncryptionKeys,
  parseUrl,
  positive,
  takeText,
  zeroOrMore,
} from './option-values.ts';
import type { AuthOptions } from './options.ts';
import { parseTokenStore } from './redis-option.ts';
import {
  ownTarget,
  parseAuthorizationParams,
  parseResources,
  parseResourceUrls,
} from './resource-options.ts';
import { parseRoutes, type Routes } from './route-options.ts';

/** The total form of the options. */
export interface Settings {
  readonly issuer: URL;
  readonly clientId: string;
  readonly clientSecret: string | undefined;
  readonly clientPrivateKey: ClientPrivateKey | undefined;
  readonly clientAuth: ClientAuthMethod | ClientAuthFunction;
  readonly baseUrl: URL;
  /** An API without sessions may leave it out. */
  readonly hasBaseUrl: boolean;
  /** As it was given: what is registered at the provider for the way back from a logout. */
  readonly postLogoutRedirectUri: string;
  readonly redirectUri: string;
  readonly scopes: ScopeSet;
  readonly resources: readonly string[];
  readonly requestDefaults: RequestDefaults;
  readonly resourceUrls: Readonly<Record<string, URL>>;
  readonly hasSessions: boolean;
  readonly onBehalfOfGrant: OnBehalfOfGrant;
  readonly routes: Routes;
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
  readonly redis: RedisPlace | undefined;
  readonly storeReadTimeoutMs: number | undefined;
  readonly storeWriteTimeoutMs: number;
  readonly afterLogin: AuthOptions['afterLogin'];
  readonly fetch: Fetch;
  readonly logger: Logger;
  readonly preservePost: boolean;
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
  'session',
  'onBehalfOfGrant',
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
  'tokenStore',
  'storeReadTimeoutMs',
  'storeWriteTimeoutMs',
  'afterLogin',
  'fetch',
  'logger',
  'preservePost',
  'allowInsecureRequests',
] as const satisfies readonly (keyof AuthOptions)[];

const DEFAULT_SCOPES = 'openid profile email offline_access';

/**
 * @throws {TypeError} for a value of the wrong kind.
 * @throws {ConfigurationError} for a missing or contradictory one. Both say what to do.
 */
export function parseOptions(options: AuthOptions = {}, env: NodeJS.ProcessEnv = process.env): Settings {
  knownFields(options, NAMES, 'auth()');
  const isProduction = env.NODE_ENV === 'production';
  const allowInsecureRequests = enabled(options.allowInsecureRequests, 'allowInsecureRequests');
  const issuer = parseIssuer(
    required(options, env, ['issuer', 'issuerBaseURL'], ['OIDC_ISSUER', 'ISSUER_BASE_URL']),
    allowInsecureRequests,
  );
  const clientId = required(options, env, ['clientId', 'clientID'], ['OIDC_CLIENT_ID', 'CLIENT_ID']);
  const clientSecret = takeText(options, env, ['clientSecret'], ['OIDC_CLIENT_SECRET', 'CLIENT_SECRET']);
  const hasSessions = keepsSessions(options.session);
  const givenBase = parseBase(options, env, hasSessions);
  const base = givenBase ?? 'http://localhost';
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
    clientPrivateKey: parsePrivateKey(options.clientPrivateKey),
    clientAuth: parseClientAuth(options, clientSecret),
    baseUrl,
    hasBaseUrl: givenBase !== undefined,
    postLogoutRedirectUri: base,
    redirectUri: baseUrl.href.replace(/\/+$/, '') + routes.callback,
    scopes,
    resources: [...new Set([...ownResources, ...named])],
    requestDefaults: {
      scopes: withoutOpenIdScopes(scopes),
      target: ownTarget(ownResources, authorizationParams),
      resources,
    },
    resourceUrls: parseResourceUrls(options.resources),
    hasSessions,
    onBehalfOfGrant:
      choice(options.onBehalfOfGrant, ['auto', 'token_exchange', 'jwt_bearer'], 'onBehalfOfGrant') ?? 'auto',
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
    encryptionKeys: parseEncryption(options, env, isProduction && hasSessions),
    isProduction,
    callerTimeoutMs: milliseconds(options.callerTimeoutMs, 'callerTimeoutMs') ?? 6000,
    grantTimeoutMs: milliseconds(options.grantTimeoutMs, 'grantTimeoutMs') ?? 25_000,
    clockTolerance: zeroOrMore(options.clockTolerance, 'clockTolerance') ?? 30,
    defaultLifetime: positive(options.defaultLifetime, 'defaultLifetime') ?? 300,
    maxTokens: positive(options.maxTokens, 'maxTokens') ?? 250,
    maxRetryAfterMs: milliseconds(options.maxRetryAfterMs, 'maxRetryAfterMs') ?? 60_000,
    redis: parseTokenStore(options.tokenStore),
    storeReadTimeoutMs: milliseconds(options.storeReadTimeoutMs, 'storeReadTimeoutMs'),
    storeWriteTimeoutMs: milliseconds(options.storeWriteTimeoutMs, 'storeWriteTimeoutMs') ?? 2000,
    afterLogin: functionOrUndefined(options.afterLogin, 'afterLogin'),
    fetch: functionOrUndefined(options.fetch, 'fetch') ?? ((url, init) => globalThis.fetch(url, init)),
    logger: options.logger === undefined ? consoleLogger : parseLogger(options.logger),
    preservePost: enabled(options.preservePost, 'preservePost'),
    allowInsecureRequests,
  });
}

function keepsSessions(session: unknown): boolean {
  if (session !== undefined && session !== false)
    throw new TypeError(
      "session may only be false, for a web API: sessions are express-session's, mounted before auth()",
    );
  return session === undefined;
}

/** An API without sessions sends nobody anywhere: it needs its URL only to check DPoP proofs. */
function parseBase(options: AuthOptions, env: NodeJS.ProcessEnv, hasSessions: boolean): string | undefined {
  const names = [
    ['baseUrl', 'baseURL'],
    ['OIDC_BASE_URL', 'BASE_URL'],
  ] as const;
  return hasSessions ? required(options, env, ...names) : takeText(options, env, ...names);
}

function required(
  options: AuthOptions,
  env: NodeJS.ProcessEnv,
  names: readonly (keyof AuthOptions)[],
  variables: readonly string[],
): string {
  const value = takeText(options, env, names, variables);
  if (value === undefined) fail(`${names[0]} is missing: pass auth({ ${names[0]} }) or set ${variables[0]}.`);
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
  const allowsUnencrypted = enabled(options.allowUnencryptedTokens, 'allowUnencryptedTokens');
  if (keys.length > 0) return keys;
  if (allowsUnencrypted) return undefined;
  if (isProduction) {
    fail(
      'OIDC_ENCRYPTION_KEYS is missing: tokens are encrypted in the session store. Make a key with\n' +
        `  node -e "console.log('k1:' + require('crypto').randomBytes(32).toString('base64'))"\n` +
        'and give it to every process of the app.',
    );
  }
  return keys;
}
