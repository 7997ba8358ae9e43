import { type Decision, decide, type RefreshReason } from '../core/decide.ts';
import { ProviderUnavailableError, ScopeNotGrantedError, safeText } from '../core/errors.ts';
import type { Clock, Events, Logger } from '../core/ports.ts';
import { scopeSet } from '../core/scopes.ts';
import type { SignedIn } from '../core/session-handle.ts';
import type { TokenAnswer } from '../core/token-answer.ts';
import {
  type CachedToken,
  dropRefreshToken,
  findRefusal,
  putToken,
  type RefreshToken,
  recordRefusal,
  rotateRefreshToken,
  type TokenCache,
} from '../core/token-cache.ts';
import { classifyFailure, type Outcome, type TokenEndpointFailure } from '../core/token-endpoint-outcome.ts';
import type { NormalizedRequest } from '../core/token-request.ts';
import { type GrantResult, refreshTokens } from '../protocol/grants.ts';
import type { Provider } from '../protocol/provider.ts';
import type { CacheRecords, OpenRecord } from './cache-records.ts';
import { type GrantBase, PatientCommits } from './patient-commits.ts';
import type { ProviderGate } from './provider-gate.ts';
import { revoke } from './sign-out.ts';
import { failureError, interactionError, shuttingDown } from './token-errors.ts';
import { cachedToken, refreshTokenOf } from './token-set.ts';

export interface Acquired {
  readonly token: CachedToken;
  readonly source: 'cache' | 'provider';
  readonly reason?: RefreshReason;
  /** Served inside its expiry leeway, because the provider gave no other. */
  readonly stale?: true;
}

export interface RefreshParts {
  readonly provider: Provider;
  readonly records: CacheRecords;
  readonly gate: ProviderGate;
  readonly events: Events;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  readonly settings: { readonly defaultLifetime: number };
}

interface RefreshStep {
  readonly refreshToken: RefreshToken;
  readonly reason: RefreshReason;
}

/** How often a commit may be refused by a newer record before the caller is sent away. */
const MAX_REFUSED = 2;

interface Grant extends GrantBase {
  readonly request: NormalizedRequest;
}

const USERS_TURN: ReadonlySet<Outcome['kind']> = new Set(['rejected', 'interaction', 'scope_refused']);

/** The refresh grant under the lease: read again, decide again, grant, commit, and only then hand out the token. */
export class Refresher {
  readonly #parts: RefreshParts;
  readonly #commits: PatientCommits;
  #isClosed = false;

  constructor(parts: RefreshParts) {
    this.#parts = parts;
    this.#commits = new PatientCommits(parts);
  }

  /** No grant is started any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** From here on no grant is started, not even one that waits for its turn. */
  close(): void {
    this.#isClosed = true;
  }

  /**
   * @param seen the version of the record that made the caller ask.
   * @param isBackground the cached token is good, and is to be renewed all the same when it is past its soft expiry.
   */
  async refresh(
    session: SignedIn,
    request: NormalizedRequest,
    seen: number,
    isBackground: boolean,
  ): Promise<Acquired> {
    let known = seen;
    for (let refused = 0; ; ) {
      const { record: current, isHeld, release } = await this.#parts.records.acquire(session.handle, known);
      try {
        known = Math.max(known, current.version);
        if (current.state === 'tombstone') throw interactionError('signed_out', request);
        if (!isHeld) {
          // Somebody refreshed meanwhile, or the session ended: often that answers the request.
          const decision = decide(current.cache, request, this.#parts.clock.now());
          if (refreshStep(decision, isBackground) === undefined) return acquiredOrThrow(decision, request);
          continue;
        }
        if (refused >= MAX_REFUSED) {
          throw new ProviderUnavailableError('The token cache changed while the token was refreshed.', 1);
        }
        const record = await this.#commits.saveUnsaved(session, current);
        const result = await this.#decideAndGrant(session, request, record, isBackground);
        if (result !== 'newer') return result;
        refused += 1;
      } finally {
        await release();
      }
    }
  }

  async #decideAndGrant(
    session: SignedIn,
    request: NormalizedRequest,
    record: OpenRecord,
    isBackground: boolean,
  ): Promise<Acquired | 'newer'> {
    const { cache, version } = record;
    const decision = decide(cache, request, this.#parts.clock.now());
    const step = refreshStep(decision, isBackground);
    if (step === undefined || cache === undefined) return acquiredOrThrow(decision, request);
    const { clock, events } = this.#parts;
    const startedAt = clock.now();
    const result = await this.#askProvider(session, request, step);
    if (result.ok) events.refreshSucceeded({ durationMs: Math.round((clock.now() - startedAt) * 1000) });
    const grant: Grant = { session, request, cache, version, spent: step.refreshToken };
    if (!result.ok) return this.#afterFailure(grant, result);
    const token = await this.#storeAnswer(grant, result.answer);
    return token === 'newer' ? 'newer' : { token, source: 'provider', reason: step.reason };
  }

  /** Commits the answer. The token is handed out only after that. */
  async #storeAnswer(grant: Grant, answer: TokenAnswer): Promise<CachedToken | 'newer'> {
    const { request, cache, spent } = grant;
    const now = this.#parts.clock.now();
    const asked = {
      scopes: request.scopes.length > 0 ? request.scopes : grantedBefore(cache, request),
      askedFor: [request.scopes],
      target: request,
    };
    const { random, settings } = this.#parts;
    const token = cachedToken(answer, asked, now, random(), settings.defaultLifetime);
    const fresh = refreshTokenOf(answer, spent, now);
    const { result } = await this.#commits.change(grant, (before) => {
      const rotated = fresh === undefined ? before : rotateRefreshToken(before, spent.token, fresh);
      return putToken({ ...rotated, idToken: answer.idToken ?? before.idToken }, token, now);
    });
    if (result === 'newer') return 'newer';
    if (result === 'committed') return token;
    // Logged out meanwhile: nobody will use this refresh token.
    revoke(this.#parts, answer.refreshToken ?? spent.token);
    throw interactionError('signed_out', request);
  }

  async #afterFailure(failed: Grant, result: GrantResult & { ok: false }): Promise<'newer'> {
    const outcome = classifyFailure(result.failure);
    this.#report(outcome, result.failure);
    const grant =
      result.refreshToken === undefined ? failed : await this.#keepRefreshToken(failed, result.refreshToken);
    if (grant === 'newer') return 'newer';
    const { session, request, cache, version, spent } = grant;
    switch (outcome.kind) {
      case 'rejected': {
        const committed = await this.#commits.commit(session, version, dropRefreshToken(cache, spent.token));
        if (committed === 'newer') return 'newer';
        // A logout revokes the refresh token, too.
        throw interactionError(committed === 'tombstone' ? 'signed_out' : 'refresh_token_rejected', request);
      }
      case 'scope_refused': {
        const next = recordRefusal(cache, request);
        const committed = await this.#commits.commit(session, version, next);
        if (committed === 'newer') return 'newer';
        const refusal = findRefusal(next, request);
        if (refusal?.state === 'denied') throw new ScopeNotGrantedError(refusal.scopes);
        throw interactionError('scope_refused', request);
      }
      case 'interaction':
        throw interactionError('provider_asked', { ...request, claims: outcome.claims ?? request.claims });
      default:
        throw failureError(outcome);
    }
  }

  /** A refresh token that arrived counts, whatever is wrong with the rest of its answer. */
  async #keepRefreshToken(grant: Grant, token: string): Promise<Grant | 'newer'> {
    const spent = { token, resources: grant.spent.resources, audience: grant.spent.audience };
    const { result, ...stored } = await this.#commits.change(grant, (cache) =>
      rotateRefreshToken(cache, grant.spent.token, spent),
    );
    if (result === 'newer') return 'newer';
    if (result === 'committed') return { ...grant, ...stored, spent };
    revoke(this.#parts, token);
    throw interactionError('signed_out', grant.request);
  }

  /** What an operator sees of a failure. */
  #report(outcome: Outcome, { status, error, detail }: TokenEndpointFailure): void {
    const said =
      outcome.kind === 'configuration' ? outcome.description && safeText(outcome.description, 300) : detail;
    const details = { outcome: outcome.kind, status, error: error && safeText(error, 80), detail: said };
    const { logger, events } = this.#parts;
    if (outcome.kind === 'configuration') logger.error('The provider refuses this client', details);
    else if (USERS_TURN.has(outcome.kind)) logger.info('A refresh needs the user', details);
    else logger.warn('A refresh did not succeed', details);
    if (outcome.kind === 'rejected') events.refreshRejected({});
    else events.refreshFailed({ outcome: outcome.kind, status });
  }

  async #askProvider(
    session: SignedIn,
    request: NormalizedRequest,
    { refreshToken, reason }: RefreshStep,
  ): Promise<GrantResult> {
    const { gate, events } = this.#parts;
    const refresh = {
      refreshToken: refreshToken.token,
      scope: scopeParameter(request, refreshToken),
      resource: request.resource,
      audience: request.audience,
      claims: request.claims,
      subject: session.handle.subject,
    };
    let tries = 0;
    return gate.ask(async (context) => {
      if (this.#isClosed) throw shuttingDown();
      if (tries === 0) events.refreshStarted({ reason });
      tries += 1;
      const result = await refreshTokens(context, refresh);
      // Also where a second try gets an answer: that may be a refusal, because the first one was the last.
      const isLost = !result.ok && classifyFailure(result.failure).kind === 'ambiguous';
      if (isLost && result.refreshToken === undefined) events.responseLost({});
      return result;
    });
  }
}

/** The refresh to make now, if any: what `decide` says, or the renewal of a token past its soft expiry. */
function refreshStep(decision: Decision, isBackground: boolean): RefreshStep | undefined {
  if (decision.kind === 'refresh') return decision;
  if (!isBackground || decision.kind !== 'hit' || decision.refreshWith === undefined) return undefined;
  return { refreshToken: decision.refreshWith, reason: 'refresh_soon' };
}

/**
 * A token without a resource, from a refresh token for several: with `openid` it is the login's own. Without, it
 * could be for any of them, and a provider that cannot choose refuses after it has rotated.
 */
function scopeParameter({ scopes, resource }: NormalizedRequest, refreshToken: RefreshToken): string {
  const needsOpenId = resource === undefined && scopes.length > 0 && refreshToken.resources.length > 1;
  return (needsOpenId ? scopeSet([...scopes, 'openid']) : scopes).join(' ');
}

/** What a refresh without `scope` gives when the answer does not say: what the token it replaces had. */
function grantedBefore(cache: TokenCache, request: NormalizedRequest): readonly string[] {
  const before = cache.accessTokens.findLast(
    (token) => token.asked.includes('') && token.resource === request.resource,
  );
  return before?.scopes ?? [];
}

function acquiredOrThrow(decision: Decision, request: NormalizedRequest): Acquired {
  switch (decision.kind) {
    case 'hit':
      return { token: decision.token, source: 'cache' };
    case 'not_granted':
      throw new ScopeNotGrantedError(decision.scopes);
    case 'interaction':
      throw interactionError(decision.reason, request);
    case 'refresh':
      throw new TypeError('a decision to refresh is not an answer');
  }
}
