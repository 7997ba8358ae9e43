import type { Request, Response } from 'express';
import { accountOf, type IdTokenClaims } from '../core/claims.ts';
import { InteractionRequiredError, ProviderUnavailableError, TokenEndpointError } from '../core/errors.ts';
import { publicPath, safeReturnTo } from '../core/return-to.ts';
import { parseScopes } from '../core/scopes.ts';
import type { Account } from '../core/token-cache.ts';
import {
  type NormalizedRequest,
  normalizeRequest,
  parseAcrValues,
  parseClaims,
  parseMaxAge,
  parseResource,
  type TokenRequestInput,
  userInfoRequest,
} from '../core/token-request.ts';
import { userInfo } from '../protocol/user-info.ts';
import type { Assertion } from '../tokens/acquire-on-behalf-of.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import { isTimedOut, within } from '../tokens/flights.ts';
import type { Acquired } from '../tokens/refresh.ts';
import { challengeWhenFailing } from './challenge.ts';
import { type Context, type Shared, signedIn } from './context.ts';
import { endAccount } from './end-account.ts';
import { fetchWithToken } from './fetch-with-token.ts';
import { knownFields, nonEmpty } from './option-values.ts';
import { sendToProvider } from './routes/login.ts';
import { type LogoutOptions, logout } from './routes/logout.ts';
import { dropHandle, saveSession } from './session.ts';

/** What is known of `req.oidc` where `isAuthenticated()` has said so. */
type SignedIn = RequestOidc & { readonly account: Account; readonly user: IdTokenClaims };

/** `req.oidc`: who is signed in. Synchronous where it says nothing else, and then never touching a store. */
export class RequestOidc {
  readonly #context: Context;
  readonly #req: Request;

  constructor(context: Context, req: Request) {
    this.#context = context;
    this.#req = req;
  }

  /** Whether somebody is signed in. */
  isAuthenticated(): this is SignedIn {
    return signedIn(this.#context, this.#req) !== undefined;
  }

  /** Issuer and subject, and a name to show where the ID token has one. */
  get account(): Account | undefined {
    const session = signedIn(this.#context, this.#req);
    return session && accountOf(session.handle.claims);
  }

  /** The verified claims of the ID token (OpenID Connect Core §5.1); above 4 KiB the largest are left out. */
  get user(): IdTokenClaims | undefined {
    return signedIn(this.#context, this.#req)?.handle.claims;
  }

  /** The account of this session, or none. */
  async getAccounts(): Promise<Account[]> {
    const { account } = this;
    return account === undefined ? [] : [account];
  }

  /**
   * Signs the account out of this app, without the provider and without an answer: for an app that goes on with
   * another. The app's own data stays in the session.
   */
  async removeAccount(): Promise<void> {
    const session = signedIn(this.#context, this.#req);
    if (session === undefined) return;
    await endAccount(this.#context, session.handle);
    dropHandle(this.#req);
    await saveSession(this.#req, this.#context.settings.storeWriteTimeoutMs);
  }

  /** The raw ID token; undefined when nobody is signed in or the token cache is gone. */
  async getIdToken(): Promise<string | undefined> {
    const session = signedIn(this.#context, this.#req);
    return session && this.#context.silent.idToken(session);
  }

  /**
   * The claims of the userinfo endpoint, about the signed-in user (OpenID Connect Core §5.3).
   *
   * @throws {InteractionRequiredError} when there is no token for it.
   * @throws {TokenEndpointError} when the endpoint does not answer with claims about this user.
   * @throws {ProviderUnavailableError} when it does not answer within `callerTimeoutMs`.
   */
  async fetchUserInfo(): Promise<Record<string, unknown>> {
    const { provider, settings } = this.#context;
    const request = userInfoRequest(settings.requestDefaults.target);
    const { accessToken, account } = await acquire(this.#context, this.#req, request);
    const asked = userInfo(await provider.connect(), accessToken, account.subject).catch((cause: unknown) => {
      throw new TokenEndpointError(
        'The userinfo endpoint did not answer with claims about the signed-in user.',
        { cause },
      );
    });
    const claims = await within(asked, settings.callerTimeoutMs);
    if (isTimedOut(claims))
      throw new ProviderUnavailableError('The userinfo endpoint takes too long to answer.');
    return claims;
  }
}

/** What a login asks for beyond the configured one. */
export interface LoginOptions {
  /** A path of the app; default: the URL of this request for GET, else `/`. */
  returnTo?: string | undefined;
  /** Scopes to ask for together with the configured and the granted ones. */
  scopes?: string | readonly string[] | undefined;
  /** A resource to ask for beside the configured and the granted ones (RFC 8707). */
  resource?: string | undefined;
  /** The same, at providers that use `audience` instead of `resource`. */
  audience?: string | undefined;
  /** `login`, `consent`, `select_account`, … (OpenID Connect Core §3.1.2.1). */
  prompt?: string | undefined;
  /** Who will sign in, such as an e-mail address (OpenID Connect Core §3.1.2.1). */
  loginHint?: string | undefined;
  /** Authentication context classes to ask for: separated by spaces, or an array. */
  acrValues?: string | readonly string[] | undefined;
  /** The sign-in may be at most this many seconds old. */
  maxAge?: number | undefined;
  /** A JSON object, or its text (OpenID Connect Core §5.5). */
  claims?: string | Readonly<Record<string, unknown>> | undefined;
}

const LOGIN_FIELDS: readonly (keyof LoginOptions)[] = [
  'returnTo',
  'scopes',
  'resource',
  'audience',
  'prompt',
  'loginHint',
  'acrValues',
  'maxAge',
  'claims',
];

/** `res.oidc`: the login and logout routes, from the app's own code. Both answer the request. */
export class ResponseOidc {
  readonly #context: Context;
  readonly #req: Request;
  readonly #res: Response;

  constructor(context: Context, req: Request, res: Response) {
    this.#context = context;
    this.#req = req;
    this.#res = res;
  }

  /** Sends the user to the provider. */
  async login(options: LoginOptions = {}): Promise<void> {
    knownFields(options, LOGIN_FIELDS, 'res.oidc.login()');
    const { baseUrl } = this.#context.settings;
    const here = this.#req.method === 'GET' ? publicPath(this.#req.originalUrl, baseUrl) : undefined;
    await sendToProvider(this.#context, this.#req, this.#res, {
      kind: 'login',
      returnTo: safeReturnTo(options.returnTo ?? here, baseUrl),
      prompt: nonEmpty(options.prompt, 'prompt'),
      loginHint: nonEmpty(options.loginHint, 'loginHint'),
      request: {
        scopes: options.scopes === undefined ? [] : parseScopes(options.scopes),
        resource: options.resource === undefined ? undefined : parseResource(options.resource),
        audience: nonEmpty(options.audience, 'audience'),
        claims: parseClaims(options.claims),
        acrValues: options.acrValues === undefined ? undefined : parseAcrValues(options.acrValues),
        maxAge: parseMaxAge(options.maxAge),
      },
    });
  }

  /** Ends the session here, then at the provider. */
  logout(options: LogoutOptions = {}): Promise<void> {
    return logout(this.#context, this.#req, this.#res, options);
  }
}

export function makeGetTokenSilent(context: Context, req: Request) {
  return async function getTokenSilent(input?: TokenRequestInput): Promise<TokenResult> {
    return acquire(context, req, normalize(context, input));
  };
}

export function makeGetToken(context: Context, req: Request, res: Response) {
  return async function getToken(input?: TokenRequestInput): Promise<TokenResult> {
    try {
      return await acquire(context, req, normalize(context, input));
    } catch (error) {
      if (error instanceof InteractionRequiredError) await challengeWhenFailing(context, req, res, error);
      throw error;
    }
  };
}

export function makeFetchWithToken(context: Context, req: Request, res: Response) {
  const source = {
    acquire: async (request: NormalizedRequest) => acquire(context, req, request),
    challenge: (error: InteractionRequiredError) => challengeWhenFailing(context, req, res, error),
  };
  return async function fetchWithTokenOfUser(
    url: string | URL,
    init: RequestInit = {},
    request?: TokenRequestInput,
  ): Promise<globalThis.Response> {
    return fetchWithToken(context.settings, source, { url, init, request });
  };
}

/** A token of the app itself; it belongs to nobody. */
export type AppTokenResult = Omit<TokenResult, 'account'>;

/** A token for another API, on behalf of the user that an API was called for. */
export type OnBehalfOfResult = Omit<TokenResult, 'account'>;

export async function getAppToken(shared: Shared, input?: TokenRequestInput): Promise<AppTokenResult> {
  // The login's own scopes are a user's.
  const request =
    typeof input === 'string'
      ? normalize(shared, input)
      : normalizeRequest(input, { ...shared.settings.requestDefaults, scopes: [] });
  const own = shared.appTokens.fromMemory(request);
  return withoutAccount(
    own === undefined ? await shared.appTokens.acquire(request) : { token: own, source: 'cache' },
  );
}

export async function getTokenOnBehalfOf(
  shared: Shared,
  assertion: Assertion,
  input?: TokenRequestInput,
): Promise<OnBehalfOfResult> {
  if (typeof assertion.token !== 'string' || assertion.token === '')
    throw new TypeError('getTokenOnBehalfOf() takes the access token that this API was called with');
  return withoutAccount(await shared.onBehalfOf.acquire(assertion, normalize(shared, input)));
}

export function makeGetTokenOnBehalfOf(shared: Shared, req: Request) {
  return async function getTokenOnBehalfOfCaller(input?: TokenRequestInput): Promise<OnBehalfOfResult> {
    if (req.bearer === undefined)
      throw new TypeError(
        'req.getTokenOnBehalfOf() works after requiresBearer(): there is no access token of a caller',
      );
    const { token, expiresAt } = req.bearer;
    return getTokenOnBehalfOf(shared, { token, expiresAt }, input);
  };
}

function withoutAccount({ token, ...how }: Acquired): AppTokenResult {
  const { accessToken, tokenType, scopes, expiresAt } = token;
  return { accessToken, tokenType, scopes, expiresAt, ...how };
}

function acquire(
  context: Context,
  req: Request,
  request: NormalizedRequest,
): TokenResult | Promise<TokenResult> {
  const session = signedIn(context, req);
  if (session === undefined) throw new InteractionRequiredError({ ...request, reason: 'signed_out' });
  return context.silent.fromMemory(session, request) ?? context.silent.acquire(session, request);
}

const MAX_REMEMBERED = 1000;

/** Apps ask with the same few texts, or none, again and again; those are read once. */
function normalize(
  { normalized, settings }: Shared,
  input: TokenRequestInput | undefined,
): NormalizedRequest {
  if (typeof input === 'object') return normalizeRequest(input, settings.requestDefaults);
  const known = normalized.get(input);
  if (known !== undefined) return known;
  const request = normalizeRequest(input, settings.requestDefaults);
  if (normalized.size < MAX_REMEMBERED) normalized.set(input, request);
  return request;
}
