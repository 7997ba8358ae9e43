import type { SessionHandle } from '../core/session-handle.ts';
import { signOut } from '../tokens/sign-out.ts';
import type { Context } from './context.ts';

/** What can't be removed now is out of reach all the same: no session names it any more. */
export async function endAccount(context: Context, handle: SessionHandle): Promise<void> {
  const { provider, records, memory, binding, settings } = context;
  binding.guard.end(handle.ref);
  await signOut({ provider, records, memory, logger: settings.logger }, handle).catch((error: Error) => {
    settings.logger.warn('The tokens of an ended session could not be removed', { error: error.name });
  });
}
