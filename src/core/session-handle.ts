import { isRecord } from './cache-codec.ts';
import type { IdTokenClaims } from './claims.ts';

/** What `req.session` holds of a sign-in: enough to find and open the token cache, and the verified claims. */
export interface SessionHandle {
  /** Names the record of the token cache. Random per sign-in. */
  readonly ref: string;
  /** Opens it. Random per sign-in; nowhere else. */
  readonly key: string;
  readonly issuer: string;
  readonly subject: string;
  /** Who the user signed in for: issuer and client id, as this app is set up. */
  readonly client: string;
  /** Counts successful callbacks. */
  readonly epoch: number;
  readonly claims: IdTokenClaims;
}

/** Undefined for anything that is not a handle: the session belongs to the app, which may put anything there. */
export function readHandle(value: unknown): SessionHandle | undefined {
  if (!isRecord(value)) return undefined;
  const { ref, key, issuer, subject, client, epoch, claims } = value;
  const texts = [ref, key, issuer, subject, client].every((text) => typeof text === 'string' && text !== '');
  return texts && Number.isInteger(epoch) && isRecord(claims)
    ? (value as unknown as SessionHandle)
    : undefined;
}

/** A signed-in session as silent acquisition sees it. */
export interface SignedIn {
  readonly handle: SessionHandle;
  readonly sessionId: string;
  /** How long the session lives from its last use. */
  readonly sessionMs: number;
}
