import type { Request } from 'express';
import type { Store } from 'express-session';
import type { Cipher, Clock } from '../core/ports.ts';
import type { SessionHandle, SignedIn } from '../core/session-handle.ts';
import type { NormalizedRequest } from '../core/token-request.ts';
import type { Provider } from '../protocol/provider.ts';
import type { AccessTokenMemory } from '../storage/access-token-memory.ts';
import type { StoreBinding } from '../storage/store-binding.ts';
import type { CodeAcquisition } from '../tokens/acquire-by-code.ts';
import type { AppAcquisition } from '../tokens/acquire-for-app.ts';
import type { OnBehalfOfAcquisition } from '../tokens/acquire-on-behalf-of.ts';
import type { SilentAcquisition, TokenResult } from '../tokens/acquire-silent.ts';
import type { CacheRecords } from '../tokens/cache-records.ts';
import type { ProviderGate } from '../tokens/provider-gate.ts';
import type { SessionRegistry } from '../tokens/session-registry.ts';
import type { Bearers } from './bearers.ts';
import type { Redemptions } from './redemptions.ts';
import { getHandle, sessionLengthMs } from './session.ts';
import type { Settings } from './settings.ts';

/** What one `auth()` shares between its requests. */
export interface Shared {
  readonly settings: Settings;
  /** Issuer and client id: distinguishes clients that share a store. */
  readonly client: string;
  readonly provider: Provider;
  readonly cipher: Cipher;
  /** For what travels in a URL: never plain text. */
  readonly urlCipher: Cipher;
  readonly clock: Clock;
  readonly memory: AccessTokenMemory<TokenResult>;
  /** One provider, one gate: whatever store the users' sessions are in. */
  readonly gate: ProviderGate;
  readonly appTokens: AppAcquisition;
  readonly onBehalfOf: OnBehalfOfAcquisition;
  readonly bearers: Bearers;
  /** Token requests that were read before, by their text. */
  readonly normalized: Map<string | undefined, NormalizedRequest>;
}

/** What it shares between the requests of one session store. */
export interface Context extends Shared {
  readonly store: Store;
  readonly binding: StoreBinding;
  readonly records: CacheRecords;
  readonly silent: SilentAcquisition;
  readonly byCode: CodeAcquisition;
  readonly redemptions: Redemptions;
  /** Undefined where the provider ends no sessions of this app. */
  readonly registry: SessionRegistry | undefined;
}

/** Who is signed in in this request's session, if anybody is and was not logged out meanwhile. */
export function signedIn(context: Context, req: Request): SignedIn | undefined {
  const handle = getHandle(req);
  if (handle === undefined || !isLive(context, handle)) return undefined;
  return { handle, sessionId: req.sessionID, sessionMs: sessionLengthMs(req) };
}

/**
 * Whether a handle names a sign-in of this client that was not logged out meanwhile. What another `auth()` of the app
 * put into the session is no sign-in here, and its refresh token is nothing for this provider to see.
 */
export function isLive({ client, binding }: Context, handle: SessionHandle): boolean {
  return handle.client === client && !binding.guard.hasEnded(handle.ref);
}
