import type { NextFunction, Request, Response } from 'express';
import { accountOf, type IdTokenClaims, satisfiesStepUp } from '../../core/claims.ts';
import { LoginError, StoreUnavailableError } from '../../core/errors.ts';
import { homePath } from '../../core/return-to.ts';
import type { SessionHandle } from '../../core/session-handle.ts';
import { countLoop, decodeTransaction, isRestarted, type Transaction } from '../../core/transaction.ts';
import { storeCall } from '../../storage/store-call.ts';
import { type Context, signedIn } from '../context.ts';
import { endAccount } from '../end-account.ts';
import { awaitOutcome, publishOutcome } from '../login-outcome.ts';
import { redirect } from '../pages.ts';
import { withPostId } from '../preserved-post.ts';
import type { LoginOutcome } from '../redemptions.ts';
import { respondError } from '../respond-error.ts';
import {
  adoptSession,
  getHandle,
  getLoginState,
  leaveSaved,
  loginState,
  ownData,
  putData,
  renewSession,
  saveSession,
  sessionLengthMs,
  setHandle,
  setLoginState,
} from '../session.ts';
import { fingerprint, startLogin, transactionPurpose } from '../start-login.ts';
import { callbackParameters } from './callback-parameters.ts';
import { sendToProvider } from './login.ts';

/** `GET` or `POST /callback`: the way back from the provider. */
export async function callbackRoute(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
): Promise<void> {
  try {
    const parameters = await callbackParameters(context, req, res);
    if (parameters !== undefined) await handleResponse(context, req, res, parameters);
  } catch (error) {
    respondError(context, req, res, next, error);
  }
}

async function handleResponse(
  context: Context,
  req: Request,
  res: Response,
  response: URLSearchParams,
): Promise<void> {
  const { redemptions, clock, settings } = context;
  const state = response.get('state') ?? '';
  const answerHash = fingerprint(response.toString());
  const browser = getLoginState(req)?.browser;
  const isKnown = redemptions.find(answerHash, browser, clock.now()) !== undefined;
  const pending = isKnown ? undefined : await peekTransaction(context, state);
  // Another request with the same callback may have come this far while the record was read.
  let outcome = redemptions.find(answerHash, browser, clock.now());
  if (outcome === undefined) {
    const transaction = pending?.transaction;
    if (pending === undefined || transaction?.browser !== browser)
      return unknownState(context, req, res, response, transaction);
    const login = { state, response, transaction: pending.transaction };
    outcome = redemptions.start(answerHash, pending.transaction.browser, clock.now(), () =>
      pending.isTaken ? awaitOutcome(context, response) : redeem(context, req, login),
    );
  }
  const end = await outcome;
  if (end === undefined) return unknownState(context, req, res, response, pending?.transaction);
  const { sessionId, returnTo } = end;
  if (req.sessionID !== sessionId) await adoptSession(req, sessionId, settings.storeWriteTimeoutMs);
  redirect(res, req.method === 'POST' ? 303 : 302, returnTo);
}

async function peekTransaction(
  context: Context,
  state: string,
): Promise<{ transaction: Transaction; isTaken: boolean } | undefined> {
  if (state === '') return undefined;
  const stored = await context.binding.transactions.peek(fingerprint(state));
  const text = stored && context.cipher.open(stored.payload, state, transactionPurpose(context));
  const transaction = text === undefined ? undefined : decodeTransaction(text, context.clock.now());
  return stored && transaction && { transaction, isTaken: stored.isTaken };
}

/** A login that this browser did not start, or that came to nothing: back to the app, or once more from the start. */
async function unknownState(
  context: Context,
  req: Request,
  res: Response,
  response: URLSearchParams,
  transaction: Transaction | undefined,
): Promise<void> {
  const { baseUrl } = context.settings;
  const state = response.get('state') ?? '';
  if (signedIn(context, req) !== undefined) {
    redirect(res, 302, transaction?.returnTo ?? homePath(baseUrl));
    return;
  }
  // A provider that leaves the state out would do so again, and nothing in its answer would tell of the restart.
  if (state === '' && getLoginState(req)?.states.length) {
    throw new LoginError('The provider does not say which sign-in it answers, so its answer is not used.', {
      error: response.get('error') || 'invalid_response',
    });
  }
  if (isRestarted(state)) {
    throw new LoginError(
      'Your browser did not send back the cookie that this sign-in began with. Allow cookies for this site, then sign in again.',
      { error: 'session_lost' },
    );
  }
  await sendToProvider(context, req, res, {
    kind: 'login',
    returnTo: transaction?.returnTo ?? homePath(baseUrl),
    isRestart: true,
  });
}

interface LoginResponse {
  readonly state: string;
  readonly response: URLSearchParams;
  readonly transaction: Transaction;
}

/** Consumes the transaction before the network; whoever finds it consumed waits for the outcome. */
async function redeem(
  context: Context,
  req: Request,
  login: LoginResponse,
): Promise<LoginOutcome | undefined> {
  const { state, response } = login;
  const taken = await context.binding.transactions.take(fingerprint(state));
  if (taken === undefined) return awaitOutcome(context, response);
  try {
    const outcome = await complete(context, req, login);
    publishOutcome(context, response, outcome);
    return outcome;
  } catch (error) {
    publishOutcome(context, response, undefined);
    throw error;
  }
}

/** Redeems the code, stores the tokens, and only then changes the session. */
async function complete(
  context: Context,
  req: Request,
  { state, response, transaction }: LoginResponse,
): Promise<LoginOutcome> {
  const { byCode, settings } = context;
  if (isSingleTargetAnswer(response, transaction)) {
    const { kind, returnTo, postId, scopes, target, claims, acrValues, maxAge } = transaction;
    const request = { scopes, ...target, claims, acrValues, maxAge };
    const again = { kind, returnTo, postId, request, singleResource: true };
    const url = await startLogin(context, req, again);
    return { sessionId: req.sessionID, returnTo: url.href };
  }
  const redeemed = await byCode.redeem({ transaction, state, response, redirectUri: settings.redirectUri });
  const handle = await byCode.store(redeemed, transaction, signedIn(context, req), sessionLengthMs(req));
  const stateHash = fingerprint(state);
  await beginSession(context, req, { handle, transaction, claims: redeemed.claims, stateHash });
  const { returnTo, postId } = transaction;
  return {
    sessionId: req.sessionID,
    returnTo: postId === undefined ? returnTo : withPostId(returnTo, postId),
  };
}

/** RFC 8707 §2: the provider does not take several resources at once; it is asked again for the one that is needed. */
function isSingleTargetAnswer(response: URLSearchParams, { resources, target }: Transaction): boolean {
  return response.get('error') === 'invalid_target' && resources.length > 1 && target.resource !== undefined;
}

interface NewLogin {
  readonly handle: SessionHandle;
  readonly transaction: Transaction;
  /** All of them; the session may hold fewer. */
  readonly claims: IdTokenClaims;
  readonly stateHash: string;
}

/**
 * The session of the account that signed in: a new id (against fixation), with the data of the anonymous session or
 * of the same account; nothing of another account.
 */
async function beginSession(
  context: Context,
  req: Request,
  { handle, transaction, claims, stateHash }: NewLogin,
): Promise<void> {
  const { settings, clock, binding } = context;
  const earlier = getHandle(req);
  const isOther =
    earlier !== undefined && (earlier.issuer !== handle.issuer || earlier.subject !== handle.subject);
  const left = isOther || earlier?.client !== handle.client ? earlier : undefined;
  const data = isOther ? {} : ownData(req);
  const { originalMaxAge } = req.session.cookie;
  const state = loginState(req);
  const oldId = req.sessionID;
  renewSession(req);
  putData(req, data);
  // Where the app made this user's session longer ("remember me"), a step-up does not make it shorter again.
  if (earlier !== undefined && !isOther && originalMaxAge !== null)
    req.session.cookie.maxAge = originalMaxAge;
  setHandle(req, handle);
  const isUndelivered = !satisfiesStepUp(claims, transaction, clock.now(), settings.clockTolerance);
  const loops =
    transaction.loopKey === undefined
      ? state.loops
      : countLoop(state.loops, transaction.loopKey, clock.now(), isUndelivered);
  const states = state.states.filter((other) => other !== stateHash);
  setLoginState(req, { browser: transaction.browser, states, loops });
  try {
    await settings.afterLogin?.(req, { account: accountOf(handle.claims), claims });
    await keepReachable(context, req, handle, isOther ? undefined : earlier);
    await saveSession(req, settings.storeWriteTimeoutMs);
    await stayEnded(context, handle);
    await storeCall('end the earlier session', settings.storeWriteTimeoutMs, (done) =>
      binding.guard.leave(oldId, done),
    );
  } catch (error) {
    // Without a session on the request express-session does not try to save it once more, which would sign in all
    // the same, or hold the answer back while the store hangs. Nobody waits for the rest.
    Reflect.deleteProperty(req, 'session');
    binding.guard.leave(req.sessionID, () => undefined);
    // A fault of the store ends no earlier sign-in: the browser goes on with the session that it has.
    const isFault = error instanceof StoreUnavailableError;
    if (!isFault) binding.guard.leave(oldId, () => undefined);
    if (!isFault || earlier?.ref !== handle.ref) void endAccount(context, handle);
    if (!isFault && left !== undefined) void endAccount(context, left);
    throw error;
  }
  leaveSaved(req);
  if (left !== undefined) await endAccount(context, left);
}

/**
 * `afterLogin` may have made the session longer than the tokens were stored for; and the provider must find the
 * session to end it.
 */
async function keepReachable(
  { records, registry, settings }: Context,
  req: Request,
  handle: SessionHandle,
  earlier: SessionHandle | undefined,
): Promise<void> {
  const session = { handle, sessionId: req.sessionID, sessionMs: sessionLengthMs(req) };
  if (settings.afterLogin !== undefined) await records.renewIfNeeded(session, await records.load(handle));
  await registry?.keep(session);
  // The provider has another session for this user now; the end of the one before is not the end of this.
  const sid = earlier?.claims.sid;
  if (typeof sid === 'string' && sid !== handle.claims.sid)
    await registry?.forget({ kind: 'sid', value: sid }, [handle.ref]).catch(() => undefined);
}

/** The provider may have ended this sign-in while its session was on the way to the store. */
async function stayEnded({ records, registry }: Context, handle: SessionHandle): Promise<void> {
  if (registry === undefined || (await records.load(handle)).state !== 'tombstone') return;
  throw new LoginError('You were signed out at the provider meanwhile. Sign in again.', {
    error: 'signed_out',
  });
}
