import type { Request } from 'express';
import { accountOf, type IdTokenClaims } from '../core/claims.ts';
import { ProviderUnavailableError, TokenEndpointError } from '../core/errors.ts';
import type { Account } from '../core/token-cache.ts';
import { userInfoRequest } from '../core/token-request.ts';
import { userInfo } from '../protocol/user-info.ts';
import { isTimedOut, within } from '../tokens/flights.ts';
import { type Context, signedIn } from './context.ts';
import { endAccount } from './end-account.ts';
import { acquire } from './get-token.ts';
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
