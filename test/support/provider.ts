import './quiet.ts';

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { JWK } from 'jose';
import { type ClientMetadata, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { MapAdapter } from './map-adapter.ts';
import { JWT_BEARER, registerOnBehalfOf, TOKEN_EXCHANGE } from './on-behalf-of-grants.ts';
import { configuration } from './provider-config.ts';
import { interact } from './provider-interaction.ts';
import { generateKeys, type SignOptions, sharedKeys, signToken } from './provider-keys.ts';
import { type ProviderOptions, SCOPES } from './provider-settings.ts';
import { type Endpoint, ProviderTraffic, type SecretKind } from './provider-traffic.ts';
import type { TokenCall, TokenFault } from './token-endpoint.ts';

export { unsignedToken } from './provider-keys.ts';
export { R1, R2 } from './provider-settings.ts';
export type { Endpoint, ProviderOptions, SecretKind, SignOptions, TokenCall, TokenFault };

/**
 * A real oidc-provider on a loopback port, with rotating refresh tokens and reuse detection, that can be watched,
 * scripted, stopped and started again. The settings (`accessTokenTtl`, `rotate`, `graceMs`, …) can change at any time.
 */
export class TestProvider extends ProviderTraffic {
  readonly client = { clientId: 'web-app', clientSecret: 'web-app-secret-of-the-tests-0123456789abcdef' };
  /** A web API's own client: it introspects tokens and acts on behalf of users. */
  readonly api = { clientId: 'web-api', clientSecret: 'web-api-secret-of-the-tests-0123456789abcdef' };
  readonly #options: ProviderOptions;
  readonly #clientChanges: Partial<ClientMetadata>;
  #server: Server | undefined;
  #port = 0;
  #keys: JWK[] = [];
  #oidc: Provider | undefined;
  #listener: ((req: IncomingMessage, res: ServerResponse) => Promise<void>) | undefined;

  constructor(options: ProviderOptions) {
    super(options);
    this.#options = options;
    this.#clientChanges = options.client ?? {};
    this.tokens.addIdToken = async (answer) => {
      const token = await this.oidc.AccessToken.find(String(answer.access_token));
      return { ...answer, id_token: await this.signIdToken({ sub: token?.accountId }) };
    };
    for (const { clientSecret } of [this.client, this.api]) this.secrets.set(clientSecret, 'client_secret');
  }

  get issuer(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  /** The oidc-provider object, to read or change its state directly (`oidc.RefreshToken.find(…)`). */
  get oidc(): Provider {
    if (!this.#oidc) throw new Error('the provider has not been started');
    return this.#oidc;
  }

  get keys(): readonly JWK[] {
    return this.#keys;
  }

  get accessTokenTtl(): number {
    return this.settings.accessTokenTtl;
  }
  set accessTokenTtl(seconds: number) {
    this.settings.accessTokenTtl = seconds;
  }

  get nextLogin(): string | undefined {
    return this.settings.nextLogin;
  }
  set nextLogin(account: string | undefined) {
    this.settings.nextLogin = account;
  }

  /** Starts the listener; after `stop()`, on the same port and with the same state. */
  async restart(): Promise<void> {
    if (this.#server) return;
    const server = createServer((req, res) => void this.#listener?.(req, res));
    server.listen(this.#port || (this.#options.port ?? 0), '127.0.0.1');
    await once(server, 'listening');
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    if (!this.#oidc) this.#build(this.#options.keys ?? (await sharedKeys()));
  }

  /** From here on connections are refused; open ones are cut. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
    // The refusal comes after the ends of the connections cut above, so this process's keep-alive pools know of them.
    await once(connect(this.#port, '127.0.0.1'), 'connect').catch(() => {});
  }

  async close(): Promise<void> {
    await this.stop();
  }

  /** New signing keys; `keepOld` leaves the earlier ones in the JWKS too. */
  async rotateKeys({ keepOld = false }: { keepOld?: boolean } = {}): Promise<void> {
    const fresh = await generateKeys();
    this.#build(keepOld ? [...fresh, ...this.#keys] : fresh);
  }

  /** Makes the provider send logout tokens there when a user signs out at it; also puts `sid` into ID tokens. */
  setBackchannelLogout(url: string): void {
    this.#clientChanges.backchannel_logout_uri = url;
    this.#clientChanges.backchannel_logout_session_required = true;
    this.#build(this.#keys);
  }

  /** A token signed by the provider; `iss`, `aud`, `sub`, `iat`, `exp` are right unless `claims` says otherwise. */
  signIdToken(claims: Record<string, unknown> = {}, options: SignOptions = {}): Promise<string> {
    const iat = Math.floor(Date.now() / 1000);
    const usual = { iss: this.issuer, aud: this.client.clientId, sub: 'alice', iat, exp: iat + 300 };
    return signToken(this.#keys, { ...usual, ...claims }, options);
  }

  /** A logout token (back-channel logout); name `sub` or `sid`. */
  signLogoutToken(claims: Record<string, unknown>, options: SignOptions = {}): Promise<string> {
    const events = { 'http://schemas.openid.net/event/backchannel-logout': {} };
    const header = { typ: 'logout+jwt', ...options.header };
    return this.signIdToken(
      { sub: undefined, jti: crypto.randomUUID(), events, ...claims },
      { ...options, header },
    );
  }

  #build(keys: JWK[]): void {
    this.#keys = keys;
    const uri = 'http://127.0.0.1/callback';
    const client: ClientMetadata = {
      client_id: this.client.clientId,
      client_secret: this.client.clientSecret,
      redirect_uris: [uri],
      post_logout_redirect_uris: [uri],
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials', TOKEN_EXCHANGE, JWT_BEARER],
      response_types: ['code'],
      ...this.#clientChanges,
    };
    const api: ClientMetadata = {
      client_id: this.api.clientId,
      client_secret: this.api.clientSecret,
      redirect_uris: [],
      response_types: [],
      grant_types: ['client_credentials', TOKEN_EXCHANGE, JWT_BEARER],
    };
    const oidc = new Provider(
      this.issuer,
      configuration(this.settings, {
        adapter: (model) => new MapAdapter(model, this.storage),
        clients: [client, api, ...(this.#options.clients ?? [])],
        keys,
        scopes: [...SCOPES, ...(this.#options.scopes ?? [])],
      }),
    );
    registerOnBehalfOf(oidc, keys, this.settings);
    // Test apps get random ports: any redirect URI will do.
    oidc.Client.prototype.redirectUriAllowed = () => true;
    oidc.Client.prototype.postLogoutRedirectUriAllowed = () => true;
    oidc.use((ctx, next) => this.watch(ctx as KoaContextWithOIDC, next));
    oidc.use((ctx, next) => {
      const context = ctx as KoaContextWithOIDC;
      return ctx.path.startsWith('/interaction/') ? interact(context, oidc, this.settings) : next();
    });
    this.#oidc = oidc;
    this.#listener = oidc.callback();
  }
}

/** Starts a provider on 127.0.0.1; close it at the end. */
export async function startProvider(options: ProviderOptions = {}): Promise<TestProvider> {
  const provider = new TestProvider(options);
  await provider.restart();
  return provider;
}
