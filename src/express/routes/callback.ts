import type { NextFunction, Request, Response } from 'express';
import { LoginError } from '../../core/errors.ts';
import { homePath } from '../../core/return-to.ts';
import { decodeTransaction, restartsOf, type Transaction } from '../../core/transaction.ts';
import { type Context, signedIn } from '../context.ts';
import { awaitOutcome, publishOutcome } from '../login-outcome.ts';
import { redirect, refusePrefetch } from '../pages.ts';
import { withPostId } from '../preserved-post.ts';
import type { LoginOutcome } from '../redemptions.ts';
import { isPrefetch } from '../request-kind.ts';
import { respondError } from '../respond-error.ts';
import { adoptSession, getLoginState, sessionLengthMs } from '../session.ts';
import { fingerprint, startLogin, transactionPurpose } from '../start-login.ts';
import { beginSession } from './begin-session.ts';
import { askAgain, callbackParameters } from './callback-parameters.ts';
import { sendToProvider } from './login.ts';

/** `GET` or `POST /callback`: the way back from the provider. */
export async function callbackRoute(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
): Promise<void> {
  // What it brings may be old, and a login would begin anew.
  if (isPrefetch(req.headers)) return refusePrefetch(res, homePath(context.settings.baseUrl));
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

/** Tabs of a browser that was never here begin with a session each, of which it keeps the last. */
const MAX_RESTARTS = 3;

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
  const hasSession = getLoginState(req) !== undefined;
  if (!hasSession && transaction !== undefined && (await askAgain(context, req, res, response))) return;
  // A provider that leaves the state out would do so again, and nothing in its answer would tell of the restart.
  if (state === '' && getLoginState(req)?.states.length) {
    throw new LoginError('The provider does not say which sign-in it answers, so its answer is not used.', {
      error: response.get('error') || 'invalid_response',
    });
  }
  const restarts = restartsOf(state);
  if (restarts >= (hasSession ? MAX_RESTARTS : 1)) {
    throw new LoginError(
      'Your browser did not send back the cookie that this sign-in began with. Allow cookies for this site, then sign in again.',
      { error: 'session_lost' },
    );
  }
  await sendToProvider(context, req, res, {
    kind: 'login',
    returnTo: transaction?.returnTo ?? homePath(baseUrl),
    restarts: restarts + 1,
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
