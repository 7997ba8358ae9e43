import type { Logger, TokenMemory } from '../core/ports.ts';
import type { SessionHandle } from '../core/session-handle.ts';
import { revokeRefreshToken } from '../protocol/grants.ts';
import type { Provider } from '../protocol/provider.ts';
import type { CacheRecords } from './cache-records.ts';

export interface SignOutParts {
  readonly provider: Provider;
  readonly records: CacheRecords;
  readonly memory: TokenMemory<unknown>;
  readonly logger: Logger;
}

/**
 * Ends a token cache: a tombstone in the store, nothing in memory, the refresh tokens revoked where the provider
 * can (RFC 7009), which nobody waits for. Returns the ID token for the provider's own logout.
 */
export async function signOut(parts: SignOutParts, handle: SessionHandle): Promise<string | undefined> {
  const { records, memory } = parts;
  memory.forget(handle.ref);
  const { cache } = await records.remove(handle);
  for (const { token } of cache?.refreshTokens ?? []) revoke(parts, token);
  return cache?.idToken;
}

/** Nobody waits for it: without it, too, no session holds this refresh token any more. */
export function revoke(
  { provider, logger }: Pick<SignOutParts, 'provider' | 'logger'>,
  refreshToken: string,
): void {
  const revoked = provider.connect().then((connection) => revokeRefreshToken(connection, refreshToken));
  revoked.catch((error: Error) => logger.warn('A refresh token could not be revoked', { error: error.name }));
}
