import { createHash } from 'node:crypto';

/** What the ids of our records in a session store begin with. */
export const RECORD_PREFIX = 'oidc.';

/** Ids hold hashes: whoever lists the records of a store reads neither a `ref` nor a name there. */
export function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The token cache of a sign-in. */
export function cacheId(ref: string): string {
  return `${RECORD_PREFIX}${hash(ref)}`;
}

/** A pending login, and what else waits for its browser. */
export function transactionId(stateHash: string): string {
  return `${RECORD_PREFIX}tx.${stateHash}`;
}

/** The entries of the index of sessions under a name. */
export function indexId(name: string): string {
  return `${RECORD_PREFIX}index.${hash(name)}`;
}

/** When this client may call its provider again. */
export function patienceId(client: string): string {
  return `${RECORD_PREFIX}patience.${hash(client)}`;
}

/** A value that the processes of an app share. */
export function valueId(name: string): string {
  return `${RECORD_PREFIX}value.${hash(name)}`;
}

export function lockId(name: string): string {
  return `${RECORD_PREFIX}lock.${name}`;
}
