import {
  allowInsecureRequests,
  type ClientMetadata,
  type Configuration,
  type CustomFetch,
  clockTolerance,
  customFetch,
  discovery,
  type ServerMetadata,
} from 'openid-client';
import { ConfigurationError, ProviderUnavailableError, safeText } from '../core/errors.ts';
import type { Clock, Logger } from '../core/ports.ts';
import { type ClientCredentials, clientAuthentication } from './client-auth.ts';
import {
  configurationErrorIn,
  type Fetch,
  faultOf,
  guardedFetch,
  type PlainHttp,
  plainHttpOf,
} from './fetch.ts';
import { KeySet } from './jwt.ts';
import { exchangeFetch } from './token-response.ts';
import { verifiedClaimsFetch } from './user-info.ts';

export interface ProviderSettings extends ClientCredentials {
  readonly issuer: URL;
  readonly clientId: string;
  readonly idTokenSigningAlg: string;
  readonly allowInsecureRequests: boolean;
  readonly clockTolerance: number;
  readonly grantTimeoutMs: number;
  readonly fetch: Fetch;
}

/** What every call to the provider needs: openid-client's configuration, the metadata, the keys. */
export interface Connection {
  readonly config: Configuration;
  readonly server: ServerMetadata;
  readonly keys: KeySet;
  readonly idTokenSigningAlg: string;
  readonly plainHttp: PlainHttp;
}

const METADATA_MAX_AGE_SECONDS = 3600;
const RETRY_STALE_SECONDS = 30;
const DISCOVERY_TIMEOUT_SECONDS = 5;

/**
 * The provider, discovered when it is first needed, and again every hour.
 *
 * One discovery at a time; a failed one is not remembered where there is nothing to fall back to, and where there
 * is, the earlier metadata is used on.
 */
export class Provider {
  readonly settings: ProviderSettings;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #plainHttp: PlainHttp;
  readonly #fetch: Fetch;
  readonly #keys: KeySet;
  #connection: Connection | undefined;
  #freshUntil = 0;
  #connecting: Promise<Connection> | undefined;

  constructor(settings: ProviderSettings, clock: Clock, logger: Logger) {
    this.settings = settings;
    this.#clock = clock;
    this.#logger = logger;
    this.#plainHttp = plainHttpOf(settings.issuer, settings.allowInsecureRequests);
    this.#fetch = guardedFetch(settings.fetch, this.#plainHttp);
    this.#keys = new KeySet({
      fetch: this.#fetch,
      now: () => clock.now(),
      jwksUri: async () => {
        const { server } = await this.connect();
        if (server.jwks_uri === undefined)
          throw new ConfigurationError('The provider names no jwks_uri in its metadata.');
        return server.jwks_uri;
      },
    });
  }

  /**
   * @throws {ProviderUnavailableError} when the provider cannot be reached and was not before.
   * @throws {ConfigurationError} when its metadata is not that of the configured issuer.
   */
  async connect(): Promise<Connection> {
    const connection = this.#connection;
    if (connection === undefined) return this.#discoverOnce();
    // Nobody waits for newer metadata while there is some: a provider that hangs would hold up every refresh.
    if (this.#clock.now() >= this.#freshUntil) this.#discoverOnce().catch(() => undefined);
    return connection;
  }

  async #discoverOnce(): Promise<Connection> {
    const connecting = this.#connecting ?? this.#discover();
    this.#connecting = connecting;
    try {
      return await connecting;
    } finally {
      if (this.#connecting === connecting) this.#connecting = undefined;
    }
  }

  async #discover(): Promise<Connection> {
    const { settings } = this;
    try {
      const authentication = await clientAuthentication(settings);
      const config = await discovery(settings.issuer, settings.clientId, this.#metadata(), authentication, {
        // What may be plain http is decided by guardedFetch, which knows this provider and loopback addresses.
        execute: [allowInsecureRequests],
        [customFetch]: this.#clientFetch() as CustomFetch,
        timeout: DISCOVERY_TIMEOUT_SECONDS,
      });
      config.timeout = settings.grantTimeoutMs / 1000;
      this.#connection = {
        config,
        server: config.serverMetadata(),
        keys: this.#keys,
        idTokenSigningAlg: settings.idTokenSigningAlg,
        plainHttp: this.#plainHttp,
      };
      this.#freshUntil = this.#clock.now() + METADATA_MAX_AGE_SECONDS;
      return this.#connection;
    } catch (error) {
      if (this.#connection !== undefined) {
        this.#logger.warn('The provider could not be discovered again; its earlier metadata is used', {
          issuer: settings.issuer.href,
        });
        this.#freshUntil = this.#clock.now() + RETRY_STALE_SECONDS;
        return this.#connection;
      }
      throw discoveryError(error, settings.issuer);
    }
  }

  #clientFetch(): Fetch {
    const { clientId } = this.settings;
    const expected = () => ({ clientId, issuer: this.#connection?.server.issuer });
    return verifiedClaimsFetch(exchangeFetch(this.#fetch), this.#keys, expected);
  }

  #metadata(): Partial<ClientMetadata> {
    return {
      id_token_signed_response_alg: this.settings.idTokenSigningAlg,
      [clockTolerance]: this.settings.clockTolerance,
      ...(this.settings.clientAuth === 'tls_client_auth' ? { use_mtls_endpoint_aliases: true } : {}),
    };
  }
}

function discoveryError(error: unknown, issuer: URL): Error {
  const misconfigured = configurationErrorIn(error);
  if (misconfigured !== undefined) return misconfigured;
  const { code, cause } = error as {
    code?: string;
    cause?: { attribute?: unknown; body?: { issuer?: unknown } };
  };
  if (code === 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED' && cause?.attribute === 'issuer') {
    const named = safeText(String(cause.body?.issuer), 200);
    return new ConfigurationError(
      `The provider calls itself ${named}, but OIDC_ISSUER (option issuer) is ${issuer.href}. Set it to exactly the provider's name.`,
    );
  }
  return new ProviderUnavailableError(
    `The provider ${issuer.href} could not be discovered (${faultOf(error) ?? 'no answer'}). It is asked again at the next request.`,
    undefined,
    error,
  );
}
