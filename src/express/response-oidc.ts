import type { Request, Response } from 'express';
import { publicPath, safeReturnTo } from '../core/return-to.ts';
import { parseScopes } from '../core/scopes.ts';
import { parseAcrValues, parseClaims, parseMaxAge, parseResource } from '../core/token-request.ts';
import type { Context } from './context.ts';
import { knownFields, nonEmpty } from './option-values.ts';
import { sendToProvider } from './routes/login.ts';
import { type LogoutOptions, logout } from './routes/logout.ts';

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
