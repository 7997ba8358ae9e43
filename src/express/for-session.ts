import { ConfigurationError, InteractionRequiredError } from '../core/errors.ts';
import { readHandle, type SignedIn } from '../core/session-handle.ts';
import { normalizeRequest, type TokenRequestInput } from '../core/token-request.ts';
import type { TokenResult } from '../tokens/acquire-silent.ts';
import { type Context, isLive } from './context.ts';
import { HANDLE_FIELD, readSession, sessionLengthOf } from './session.ts';

/** Silent acquisition for a session, without a request: for WebSockets, queues and jobs. */
export interface SessionTokens {
  /**
   * As `req.getTokenSilent()`; the session is read anew at each call.
   *
   * @throws {InteractionRequiredError} when the session has ended, or only the user can help.
   */
  getTokenSilent(request?: TokenRequestInput): Promise<TokenResult>;
}

/** @param sessionId what `req.sessionID` was. */
export function forSession(contextOf: () => Context, sessionId: string): SessionTokens {
  if (typeof sessionId !== 'string' || sessionId === '')
    throw new TypeError('forSession() takes a session id, such as req.sessionID');
  return {
    async getTokenSilent(input) {
      const context = contextOf();
      const request = normalizeRequest(input, context.settings.requestDefaults);
      const session = await loadSignedIn(context, sessionId);
      if (session === undefined) throw new InteractionRequiredError({ ...request, reason: 'signed_out' });
      return context.silent.acquire(session, request);
    },
  };
}

export function noStore(): never {
  throw new ConfigurationError(
    'forSession() does not know the session store before the first request: pass it, as in forSession(id, store).',
  );
}

async function loadSignedIn(context: Context, sessionId: string): Promise<SignedIn | undefined> {
  const { store, settings } = context;
  const session = await readSession(store, sessionId, settings.storeWriteTimeoutMs);
  const handle = readHandle(session?.[HANDLE_FIELD]);
  if (session === undefined || handle === undefined || !isLive(context, handle)) return undefined;
  return { handle, sessionId, sessionMs: sessionLengthOf(session, store) };
}
