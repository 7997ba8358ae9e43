import { randomBytes } from 'node:crypto';
import { accountOf, claimsForSession, type IdTokenClaims } from '../core/claims.ts';
import { ProviderUnavailableError } from '../core/errors.ts';
import type { Clock, Logger } from '../core/ports.ts';
import { grantedScopes, withoutOpenIdScopes } from '../core/scopes.ts';
import type { SessionHandle, SignedIn } from '../core/session-handle.ts';
import type { TokenAnswer } from '../core/token-answer.ts';
import {
  addRefreshToken,
  emptyCache,
  putToken,
  settleRefusals,
  type TokenCache,
} from '../core/token-cache.ts';
import type { Transaction } from '../core/transaction.ts';
import { redeemCode } from '../protocol/grants.ts';
import type { Provider } from '../protocol/provider.ts';
import type { CacheRecords } from './cache-records.ts';
import { redemptionError } from './token-errors.ts';
import { cachedToken, refreshTokenOf } from './token-set.ts';

export interface CodeParts {
  /** Whose sign-ins these are: issuer and client id. */
  readonly client: string;
  readonly provider: Provider;
  readonly records: CacheRecords;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  readonly settings: { readonly grantTimeoutMs: number; readonly defaultLifetime: number };
}

interface LoginResponse {
  readonly transaction: Transaction;
  readonly redirectUri: string;
  readonly state: string;
  readonly response: URLSearchParams;
}

interface Redeemed {
  readonly answer: TokenAnswer;
  readonly claims: IdTokenClaims;
}

const NOT_SENT_TRIES = 3;
/** Each of them lost to the commit of another: of a tab that finishes its login, most likely. */
const COMMIT_TRIES = 50;

/** Redeems the code and stores the tokens: the first of the four acquisitions. */
export class CodeAcquisition {
  readonly #parts: CodeParts;
  #hasWarnedAboutRefreshToken = false;

  constructor(parts: CodeParts) {
    this.#parts = parts;
  }

  /**
   * @throws {LoginError} when the provider answered with an error or with something that is not to be believed.
   * @throws {ProviderUnavailableError} when it did not answer.
   */
  async redeem(login: LoginResponse): Promise<Redeemed> {
    const { provider, settings, clock } = this.#parts;
    const connection = await provider.connect();
    const context = {
      connection,
      signal: AbortSignal.timeout(settings.grantTimeoutMs),
      now: () => clock.now(),
    };
    const { transaction, redirectUri, state, response } = login;
    const redemption = {
      redirectUri,
      response,
      state,
      ...transaction.target,
      nonce: transaction.nonce,
      verifier: transaction.verifier,
      // A challenge leads back to the guard or the request that made it, which sees by itself whether it got it.
      maxAge: transaction.kind === 'login' ? transaction.maxAge : undefined,
    };
    for (let tries = 1; ; tries += 1) {
      const result = await redeemCode(context, redemption);
      if (result.ok && result.claims !== undefined) return { answer: result.answer, claims: result.claims };
      if (result.ok) throw redemptionError({ transport: 'answered', refused: 'invalid_id_token' });
      // A code is good for one use: only what never left this machine is sent again.
      if (result.failure.transport !== 'not_sent' || tries >= NOT_SENT_TRIES)
        throw redemptionError(result.failure);
    }
  }

  /**
   * Stores the tokens of a login. The account that is signed in already keeps its cache, with these tokens added;
   * any other gets a new one.
   */
  async store(
    redeemed: Redeemed,
    transaction: Transaction,
    current: SignedIn | undefined,
    sessionMs: number,
  ): Promise<SessionHandle> {
    const { claims } = redeemed;
    this.#warnAboutRefreshToken(redeemed.answer, transaction);
    const { claims: sessionClaims, dropped } = claimsForSession(claims);
    if (dropped.length > 0) {
      this.#parts.logger.warn(
        'The ID token is larger than the session takes: some claims are left out of req.oidc.user',
        { dropped },
      );
    }
    if (current !== undefined && (await this.#canKeep(current, claims))) {
      const merged = { ...current.handle, epoch: current.handle.epoch + 1, claims: sessionClaims };
      if (await this.#commit({ ...current, handle: merged }, redeemed, transaction)) return merged;
    }
    const handle: SessionHandle = {
      ref: randomBytes(24).toString('base64url'),
      key: randomBytes(32).toString('base64url'),
      issuer: claims.iss,
      subject: claims.sub,
      client: this.#parts.client,
      epoch: 1,
      claims: sessionClaims,
    };
    await this.#commit({ handle, sessionId: '', sessionMs }, redeemed, transaction);
    return handle;
  }

  /** A cache that is unreadable, or older than this process has seen, is not built on: it gets no successor. */
  async #canKeep({ handle }: SignedIn, claims: IdTokenClaims): Promise<boolean> {
    if (handle.issuer !== claims.iss || handle.subject !== claims.sub) return false;
    return (await this.#parts.records.load(handle)).cache !== undefined;
  }

  /** Beside a refresh in flight the later commit starts again from the newer record. False after a logout. */
  async #commit(session: SignedIn, redeemed: Redeemed, transaction: Transaction): Promise<boolean> {
    const { records, clock } = this.#parts;
    for (let tries = 1; tries <= COMMIT_TRIES; tries += 1) {
      const record = await records.load(session.handle);
      if (record.state === 'tombstone') return false;
      const now = clock.now();
      const base = record.cache ?? emptyCache(accountOf(redeemed.claims));
      const next = this.#withLogin(base, redeemed, transaction, now);
      const sealed = records.seal(session, record.version, next, now);
      const committed = await records.commit(session.handle, sealed);
      if (committed !== 'newer') return committed === 'committed';
    }
    throw new ProviderUnavailableError('The token cache changed too often while the login was stored.', 1);
  }

  #withLogin(base: TokenCache, { answer }: Redeemed, transaction: Transaction, now: number): TokenCache {
    const { scopes, target, resources, kind } = transaction;
    const asked = { scopes, askedFor: [[], withoutOpenIdScopes(scopes)], target };
    const token = cachedToken(answer, asked, now, this.#parts.random(), this.#parts.settings.defaultLifetime);
    const refreshToken = refreshTokenOf(answer, { resources, audience: target.audience }, now);
    const withTokens = putToken(
      refreshToken === undefined ? base : addRefreshToken(base, refreshToken),
      token,
      now,
    );
    const settled = settleRefusals(withTokens, {
      asked: scopes,
      resources,
      target,
      granted: grantedScopes(answer.scope, scopes),
      isNewStart: kind === 'login',
    });
    return { ...settled, idToken: answer.idToken };
  }

  #warnAboutRefreshToken(answer: TokenAnswer, transaction: Transaction): void {
    const missing = transaction.scopes.includes('offline_access') && answer.refreshToken === undefined;
    if (!missing || this.#hasWarnedAboutRefreshToken) return;
    this.#hasWarnedAboutRefreshToken = true;
    this.#parts.logger.warn(
      'The provider gave no refresh token although offline_access was asked for, so users are sent to it at every expiry. ' +
        "Set authorizationParams: { prompt: 'consent' }, or allow refresh tokens for this client at the provider.",
    );
  }
}
