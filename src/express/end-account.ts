import type { SessionHandle } from '../core/session-handle.ts';
import { signOut } from '../tokens/sign-out.ts';
import type { Context } from './context.ts';

/**
 * Ends a sign-in and returns its ID token, for the provider's own logout.
 *
 * What can't be removed now is out of reach all the same: no session names it any more. The refresh token of another
 * client is not for this provider to see, so nobody revokes it.
 */
export async function endAccount(context: Context, handle: SessionHandle): Promise<string | undefined> {
  const { client, provider, records, memory, binding, settings } = context;
  binding.guard.end(handle.ref);
  const ended =
    handle.client === client
      ? signOut({ provider, records, memory, logger: settings.logger }, handle)
      : binding.tokens.remove(handle.ref).then(() => undefined);
  return ended.catch((error: Error) => {
    settings.logger.warn('The tokens of an ended session could not be removed', { error: error.name });
    return undefined;
  });
}
