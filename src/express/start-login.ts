import { createHash } from 'node:crypto';
import type { Request } from 'express';
import { satisfiesStepUp } from '../core/claims.ts';
import { ClaimMismatchError, LoginError } from '../core/errors.ts';
import { scopeSet } from '../core/scopes.ts';
import { allGrantedScopes, allResources } from '../core/token-cache.ts';
import type { NormalizedRequest } from '../core/token-request.ts';
import {
  addPending,
  encodeTransaction,
  type LoopCount,
  loopOf,
  newState,
  TRANSACTION_SECONDS,
  type Transaction,
} from '../core/transaction.ts';
import {
  authorizationUrl,
  newAuthorizationSecrets,
  supportedScopes,
} from '../protocol/authorization-request.ts';
import { type Context, signedIn } from './context.ts';
import { loginState, renewSession, saveSession, setLoginState } from './session.ts';

/** What a login is started for. */
export interface LoginStart {
  readonly kind: Transaction['kind'];
  /** A path of the app. */
  readonly returnTo: string;
  /** Names the POST that is replayed there. */
  readonly postId?: string | undefined;
  /** What a token request or a guard asks beyond the login itself. */
  readonly request?: Partial<
    Pick<NormalizedRequest, 'scopes' | 'resource' | 'audience' | 'claims' | 'acrValues' | 'maxAge'>
  >;
  readonly prompt?: string | undefined;
  readonly loginHint?: string | undefined;
  /** Names the request's own resource alone: the provider takes a single target. */
  readonly singleResource?: boolean;
  /** How often this login began anew. */
  readonly restarts?: number;
}

/**
 * Starts a login: makes the transaction, stores it, saves the session, and gives the provider's URL to go to.
 *
 * @throws {ProviderUnavailableError} when the provider cannot be discovered or takes no pushed request.
 * @throws {StoreUnavailableError} when the transaction or the session cannot be stored.
 * @throws {LoginError} when the same challenge led to three logins and nothing came of them.
 */
export async function startLogin(context: Context, req: Request, login: LoginStart): Promise<URL> {
  const { settings, provider, binding, cipher, clock } = context;
  // The app may have ended its session a moment ago; a login needs one to come back to.
  if (!req.session) renewSession(req);
  const state = loginState(req);
  const loopKey = login.kind === 'challenge' ? loopKeyOf(login) : undefined;
  if (loopKey !== undefined) stopLoop(context, req, login, { loops: state.loops, loopKey });
  const connection = await provider.connect();
  const asked = await askedFor(context, req, login);
  const secrets = newAuthorizationSecrets();
  const stateValue = newState(secrets.state, login.restarts ?? 0);
  const target =
    login.request?.resource === undefined && login.request?.audience === undefined
      ? settings.requestDefaults.target
      : login.request;
  const transaction: Transaction = {
    kind: login.kind,
    nonce: secrets.nonce,
    verifier: secrets.verifier,
    browser: state.browser,
    returnTo: login.returnTo,
    postId: login.postId,
    scopes: supportedScopes(asked.scopes, connection),
    resources: asked.resources,
    target: { resource: target.resource, audience: target.audience },
    claims: login.request?.claims,
    acrValues: login.request?.acrValues,
    maxAge: login.request?.maxAge,
    loopKey,
    createdAt: clock.now(),
  };
  const url = await authorizationUrl(connection, {
    ...secrets,
    state: stateValue,
    redirectUri: settings.redirectUri,
    scopes: transaction.scopes,
    resources: transaction.resources,
    responseMode: settings.responseMode,
    audience: transaction.target.audience,
    claims: transaction.claims,
    acrValues: transaction.acrValues,
    maxAge: transaction.maxAge,
    loginHint: login.loginHint ?? asked.loginHint,
    prompt: login.prompt,
    params: settings.authorizationParams,
    pushed: settings.pushedAuthorizationRequests,
  });
  const sealed = cipher.seal(encodeTransaction(transaction), stateValue, transactionPurpose(context));
  await binding.transactions.put(fingerprint(stateValue), sealed, TRANSACTION_SECONDS * 1000);
  const { states, dropped } = addPending(state.states, fingerprint(stateValue));
  setLoginState(req, { ...state, states });
  await saveSession(req, settings.storeWriteTimeoutMs);
  await Promise.allSettled(dropped.map((hash) => binding.transactions.remove(hash)));
  return url;
}

/** A login that another `auth()` of the app started at another provider is not this one's to redeem. */
export function transactionPurpose({ client }: Context): string {
  return `transaction ${client}`;
}

/** What a store, or a map, knows a secret by. */
export function fingerprint(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** The missing scopes together with those already granted, and every resource that the refresh token is to cover. */
async function askedFor(context: Context, req: Request, login: LoginStart) {
  const { settings, records } = context;
  const session = signedIn(context, req);
  const cache = session === undefined ? undefined : (await records.load(session.handle)).cache;
  const { scopes = [], resource } = login.request ?? {};
  const own = resource === undefined ? [] : [resource];
  const resources = login.singleResource
    ? own
    : [...new Set([...settings.resources, ...(cache ? allResources(cache) : []), ...own])];
  return {
    scopes: scopeSet([...settings.scopes, ...(cache ? allGrantedScopes(cache) : []), ...scopes]),
    resources,
    loginHint:
      login.kind === 'challenge' && session !== undefined ? loginHintOf(session.handle.claims) : undefined,
  };
}

/** How providers recognise the user again: what they say themselves, a name or an address, else the subject. */
function loginHintOf(claims: Readonly<Record<string, unknown>>): string | undefined {
  const hint = claims.login_hint ?? claims.preferred_username ?? claims.email ?? claims.sub;
  return typeof hint === 'string' ? hint : undefined;
}

function loopKeyOf({ request = {}, returnTo }: LoginStart): string {
  const { scopes = [], resource, audience, claims, acrValues, maxAge } = request;
  const parts = JSON.stringify([scopes, resource, audience, claims, acrValues, maxAge, returnTo]);
  return createHash('sha256').update(parts).digest('base64url').slice(0, 22);
}

function stopLoop(
  context: Context,
  req: Request,
  login: LoginStart,
  { loops, loopKey }: { loops: readonly LoopCount[]; loopKey: string },
): void {
  const { clock, settings } = context;
  const now = clock.now();
  const { request = {} } = login;
  const isStepUp = request.acrValues !== undefined || request.maxAge !== undefined;
  const claims = signedIn(context, req)?.handle.claims;
  const isThere = claims !== undefined && satisfiesStepUp(claims, request, now, settings.clockTolerance);
  // What the claims ask for may be missing all the same.
  const isDelivered = isThere && request.claims === undefined;
  const stepUp = isStepUp ? (isDelivered ? 'delivered' : 'missing') : undefined;
  const loop = loopOf(loops, loopKey, now, stepUp);
  if (loop === 'loop') throw loopError(login);
  if (loop === 'undelivered') {
    throw new ClaimMismatchError(
      'The provider did not deliver the sign-in that this route asks for (acr, max_age). Check what it supports and what this client may ask.',
    );
  }
}

function loopError({ request }: LoginStart): LoginError {
  const scopes = request?.scopes?.join(' ') ?? '';
  return new LoginError(
    `Three logins in a row did not give what was asked for${scopes === '' ? '' : ` (${scopes})`}, so no fourth is started. ` +
      'Check what the provider grants this client, and that the session is kept between requests.',
    { error: 'login_loop', loop: true },
  );
}
