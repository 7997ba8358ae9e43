import type { JWK } from 'jose';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { ProviderStorage } from './map-adapter.ts';
import { defaultSettings, type ProviderOptions, type ProviderSettings } from './provider-settings.ts';
import { formObject, peekBody, type TokenCall, TokenEndpoint, type TokenScript } from './token-endpoint.ts';

/** Changes to what the provider says outside the token endpoint. */
export interface Tampering {
  discovery?: (document: Record<string, unknown>) => unknown;
  jwks?: (document: { keys: JWK[] }) => unknown;
  /** The redirect to the client (response mode `query`): change, add or remove any parameter. */
  authorizationResponse?: (url: URL) => URL;
}

export type Endpoint =
  | 'discovery'
  | 'jwks'
  | 'authorization'
  | 'userinfo'
  | 'revocation'
  | 'pushed'
  | 'introspection';

const ENDPOINTS: Record<string, Endpoint | 'token'> = {
  '/.well-known/openid-configuration': 'discovery',
  '/jwks': 'jwks',
  '/auth': 'authorization',
  '/me': 'userinfo',
  '/token': 'token',
  '/token/revocation': 'revocation',
  '/token/introspection': 'introspection',
  '/request': 'pushed',
};

export type SecretKind =
  | 'access_token'
  | 'refresh_token'
  | 'id_token'
  | 'code'
  | 'client_secret'
  | 'code_verifier';
const SECRET_KINDS: SecretKind[] = [
  'access_token',
  'refresh_token',
  'id_token',
  'code',
  'client_secret',
  'code_verifier',
];

type Params = Record<string, string | string[]>;

/** Everything that passes through the provider: recorded, scripted, tampered with. */
export class ProviderTraffic {
  readonly settings: ProviderSettings;
  readonly storage = new ProviderStorage();
  /** The query of each authorization request. */
  readonly authorizations: Params[] = [];
  readonly revocations: Params[] = [];
  /** What was pushed to the PAR endpoint. */
  readonly pushed: Params[] = [];
  discoveryCalls = 0;
  jwksCalls = 0;
  introspectionCalls = 0;
  tamper: Tampering = {};
  /** Endpoints that answer with this status, hang or cut the connection; the token endpoint has `script()`. */
  down: Partial<Record<Endpoint, number | 'hang' | 'reset'>> = {};
  protected readonly tokens: TokenEndpoint;
  protected readonly secrets = new Map<string, SecretKind>();
  readonly #waiters: { count: number; resolve: (calls: TokenCall[]) => void }[] = [];

  constructor(options: ProviderOptions) {
    this.settings = defaultSettings(options);
    this.tokens = new TokenEndpoint(this.settings, this.storage, (call) => this.#arrived(call));
  }

  get tokenCalls(): TokenCall[] {
    return this.tokens.calls;
  }

  get refreshCalls(): TokenCall[] {
    return this.tokenCalls.filter(({ params }) => params.grant_type === 'refresh_token');
  }

  /** What the next token requests meet, one each; see {@link TokenScript}. */
  script(...scripts: TokenScript[]): void {
    this.tokens.queue(scripts);
  }

  /** What every token request meets that no `script()` takes; `undefined` ends it. */
  scriptAlways(script: TokenScript | undefined): void {
    this.tokens.always = script;
  }

  /** Resolves when the token endpoint has been asked `count` times since the last `clearCalls()`. */
  whenTokenCalls(count: number): Promise<TokenCall[]> {
    if (this.tokenCalls.length >= count) return Promise.resolve(this.tokenCalls);
    return new Promise((resolve) => this.#waiters.push({ count, resolve }));
  }

  /** Forgets recordings and scripts; `knownSecrets` stay. */
  clearCalls(): void {
    this.tokens.clear();
    this.authorizations.length = this.revocations.length = this.pushed.length = 0;
    this.discoveryCalls = this.jwksCalls = this.introspectionCalls = 0;
  }

  /** Every token, code, secret and verifier that this provider has seen or issued. */
  knownSecrets(): ReadonlyMap<string, SecretKind> {
    for (const call of this.tokenCalls) this.#learn(call);
    return this.secrets;
  }

  protected async watch(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
    const endpoint = ENDPOINTS[ctx.path];
    if (endpoint === 'token') return this.tokens.handle(ctx, next);
    await this.#record(ctx, endpoint);
    const down = endpoint && this.down[endpoint];
    if (down === 'hang' || down === 'reset') ctx.respond = false;
    if (down === 'reset') ctx.req.socket.resetAndDestroy();
    if (typeof down === 'number') {
      ctx.status = down;
      ctx.body = 'unavailable';
    }
    if (down !== undefined) return;
    await next();
    const { discovery, jwks, authorizationResponse } = this.tamper;
    if (discovery && endpoint === 'discovery')
      ctx.body = discovery({ ...(ctx.body as Record<string, unknown>) });
    if (jwks && endpoint === 'jwks') ctx.body = jwks(structuredClone(ctx.body as { keys: JWK[] }));
    const location = String(ctx.response.headers.location ?? '');
    if (!ctx.path.startsWith('/auth') || !location.startsWith('http') || location.startsWith(ctx.origin))
      return;
    const url = new URL(location);
    const code = url.searchParams.get('code');
    if (code) this.secrets.set(code, 'code');
    if (authorizationResponse) ctx.set('location', authorizationResponse(url).href);
  }

  async #record(ctx: KoaContextWithOIDC, endpoint: Endpoint | undefined): Promise<void> {
    if (endpoint === 'discovery') this.discoveryCalls += 1;
    if (endpoint === 'jwks') this.jwksCalls += 1;
    if (endpoint === 'introspection') this.introspectionCalls += 1;
    if (endpoint === 'authorization') this.authorizations.push(formObject(ctx.URL.searchParams));
    const list =
      endpoint === 'revocation' ? this.revocations : endpoint === 'pushed' ? this.pushed : undefined;
    list?.push(formObject(new URLSearchParams(await peekBody(ctx.req))));
  }

  #arrived(call: TokenCall): void {
    this.#learn(call);
    for (const waiter of this.#waiters.filter(({ count }) => this.tokenCalls.length >= count)) {
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      waiter.resolve(this.tokenCalls);
    }
  }

  #learn({ params, answer }: TokenCall): void {
    for (const kind of SECRET_KINDS) {
      for (const value of [params[kind], answer?.[kind]])
        if (typeof value === 'string') this.secrets.set(value, kind);
    }
  }
}
