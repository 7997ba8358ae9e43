import type { NextFunction, Request, Response } from 'express';
import { LogoutTokenError, OidcTokensError, ProviderUnavailableError } from '../../core/errors.ts';
import {
  endsSession,
  type LogoutDemand,
  type LogoutSubject,
  readLogoutClaims,
} from '../../core/logout-token.ts';
import { readHandle } from '../../core/session-handle.ts';
import { InvalidJwtError } from '../../protocol/jwt.ts';
import { verifyLogoutToken } from '../../protocol/logout-request.ts';
import { storeCall } from '../../storage/store-call.ts';
import type { RegisteredSession, SessionRegistry } from '../../tokens/session-registry.ts';
import type { Context } from '../context.ts';
import { readForm } from '../form-body.ts';
import { HANDLE_FIELD, readSession } from '../session.ts';

/**
 * `POST` of a logout token by the provider (OpenID Connect Back-Channel Logout 1.0 §2.5): ends the app's sessions of
 * one session at the provider, or of an account. The provider is no browser: it is told in JSON (§2.8).
 */
export async function backchannelLogoutRoute(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
): Promise<void> {
  await answer(context, res, next, async (registry) => {
    const demand = await readDemand(context, (await readForm(req))?.get('logout_token') ?? undefined);
    if (await registry.isUsed(demand.jti)) throw refused('it was used already');
    await endSessions(context, registry, demand);
    const { clock, settings } = context;
    await registry.markUsed(demand.jti, (demand.expiresAt + settings.clockTolerance - clock.now()) * 1000);
  });
}

/**
 * `GET` in a frame of the provider's logout page (OpenID Connect Front-Channel Logout 1.0 §2). Browsers leave the
 * app's cookie out there, so it is `sid` that says which session, and without it this route ends none. Nobody but the
 * provider and the user knows it. Entra ID sends it without `iss` (https://github.com/MicrosoftDocs/entra-docs/issues/333).
 */
export async function frontchannelLogoutRoute(
  context: Context,
  req: Request,
  res: Response,
  next: NextFunction,
): Promise<void> {
  await answer(context, res, next, async (registry) => {
    // The app may read queries in a way of its own, or not at all.
    const query = new URLSearchParams(req.originalUrl.split('?')[1]);
    const [iss, sid, second] = [query.get('iss'), ...query.getAll('sid')];
    const { server } = await context.provider.connect();
    if ((iss ?? server.issuer) !== server.issuer || !sid || second !== undefined) {
      throw new LogoutTokenError(
        "A front-channel logout needs the provider's sid: set frontchannel_logout_session_required at the provider.",
      );
    }
    await endSessions(context, registry, { sid, sub: undefined });
  });
}

async function answer(
  context: Context,
  res: Response,
  next: NextFunction,
  logout: (registry: SessionRegistry) => Promise<void>,
): Promise<void> {
  res.set('Cache-Control', 'no-store');
  try {
    await logout(context.registry as SessionRegistry);
    res.status(200).end();
  } catch (error) {
    if (!(error instanceof OidcTokensError)) return next(error);
    const { logger } = context.settings;
    logger.warn("The provider's logout was not carried out", { error: error.message });
    if (error.headers) res.set(error.headers);
    const code = error instanceof LogoutTokenError ? 'invalid_request' : 'temporarily_unavailable';
    res.status(error.status).json({ error: code, error_description: error.message });
  }
}

async function readDemand(context: Context, token: string | undefined): Promise<LogoutDemand> {
  if (token === undefined) throw refused('there is none in the body');
  const { provider, settings, clock } = context;
  const connection = await provider.connect();
  try {
    const demand = readLogoutClaims(await verifyLogoutToken(connection, token), {
      issuer: connection.server.issuer,
      clientId: settings.clientId,
      now: clock.now(),
      clockTolerance: settings.clockTolerance,
    });
    if (typeof demand === 'string') throw refused(demand);
    return demand;
  } catch (error) {
    if (error instanceof InvalidJwtError) throw refused('it is not signed as it should be', error);
    if (error instanceof OidcTokensError) throw error;
    throw new ProviderUnavailableError("The provider's keys cannot be had.", undefined, error);
  }
}

function refused(reason: string, cause?: unknown): LogoutTokenError {
  return new LogoutTokenError(`The logout token is refused: ${reason}.`, cause);
}

async function endSessions(
  context: Context,
  registry: SessionRegistry,
  demand: Pick<LogoutDemand, 'sid' | 'sub'>,
): Promise<void> {
  const { sid, sub } = demand;
  const end = async (subject: LogoutSubject, isMeant: (session: RegisteredSession) => boolean) => {
    const sessions = (await registry.find(subject)).filter(isMeant);
    await Promise.all(sessions.map((session) => endSession(context, session)));
    await registry.forget(
      subject,
      sessions.map(({ ref }) => ref),
    );
  };
  if (sid !== undefined) await end({ kind: 'sid', value: sid }, () => true);
  if (sub !== undefined)
    await end({ kind: 'sub', value: sub }, (session) => endsSession(demand, session.sid));
}

/** The token cache first: a tombstone, which every process finds. Then the session, if it is still this sign-in's. */
async function endSession(context: Context, { ref, sessionId }: RegisteredSession): Promise<void> {
  const { binding, memory, store, settings } = context;
  binding.guard.end(ref);
  memory.forget(ref);
  await binding.tokens.remove(ref);
  const session = await readSession(store, sessionId, settings.storeWriteTimeoutMs);
  if (readHandle(session?.[HANDLE_FIELD])?.ref !== ref) return;
  await storeCall('destroy the session', settings.storeWriteTimeoutMs, (done) =>
    store.destroy(sessionId, done),
  );
}
