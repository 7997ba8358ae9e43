import type { Request } from 'express';
import { accountOf, type IdTokenClaims, satisfiesStepUp } from '../../core/claims.ts';
import { LoginError, StoreUnavailableError } from '../../core/errors.ts';
import type { SessionHandle } from '../../core/session-handle.ts';
import { countLoop, type Transaction } from '../../core/transaction.ts';
import { storeCall } from '../../storage/store-call.ts';
import type { Context } from '../context.ts';
import { endAccount } from '../end-account.ts';
import {
  getHandle,
  type LoginState,
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

/** A login whose tokens are stored. */
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
export async function beginSession(context: Context, req: Request, login: NewLogin): Promise<void> {
  const { handle, claims } = login;
  const { settings, binding } = context;
  const earlier = getHandle(req);
  const isOther =
    earlier !== undefined && (earlier.issuer !== handle.issuer || earlier.subject !== handle.subject);
  const same = isOther ? undefined : earlier;
  const left = isOther || earlier?.client !== handle.client ? earlier : undefined;
  const data = isOther ? {} : ownData(req);
  const { originalMaxAge } = req.session.cookie;
  const state = loginState(req);
  const oldId = req.sessionID;
  renewSession(req);
  putData(req, data);
  // Where the app made this user's session longer ("remember me"), a step-up does not make it shorter again.
  if (same !== undefined && originalMaxAge !== null) req.session.cookie.maxAge = originalMaxAge;
  setHandle(req, handle);
  setLoginState(req, loginStateAfter(context, state, login));
  try {
    await settings.afterLogin?.(req, { account: accountOf(handle.claims), claims });
    await keepReachable(context, req, handle, same);
    await saveSession(req, settings.storeWriteTimeoutMs);
    await stayEnded(context, handle, same);
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

/** This login is not pending any more, and counts where a challenge led to it. */
function loginStateAfter(
  { clock, settings }: Context,
  { states, loops }: LoginState,
  { transaction, claims, stateHash }: NewLogin,
): LoginState {
  const { browser, loopKey } = transaction;
  const now = clock.now();
  const isUndelivered = !satisfiesStepUp(claims, transaction, now, settings.clockTolerance);
  return {
    browser,
    states: states.filter((other) => other !== stateHash),
    loops: loopKey === undefined ? loops : countLoop(loops, loopKey, now, isUndelivered),
  };
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

/**
 * While its session was on the way to the store the provider may have ended this sign-in; and where it goes on from an
 * earlier session, so may a logout there, in another process too.
 */
async function stayEnded(
  { records, registry }: Context,
  handle: SessionHandle,
  earlier: SessionHandle | undefined,
): Promise<void> {
  if (registry === undefined && earlier?.ref !== handle.ref) return;
  if ((await records.load(handle)).state !== 'tombstone') return;
  throw new LoginError('You were signed out meanwhile. Sign in again.', {
    error: 'signed_out',
  });
}
