import type { Bearer } from 'express-oidc-tokens';

/** What an access token says about who calls, and for whom. */
export interface Caller {
  /** The user; in an app's own token the app. */
  subject: string | undefined;
  client: unknown;
  /** RFC 8693 §4.1: the client that acts for the user. */
  actor: unknown;
  audience: unknown;
  scopes: readonly string[];
}

export function callerOf({ subject, scopes, claims }: Bearer): Caller {
  const { sub: actor } = (claims.act ?? {}) as { sub?: unknown };
  return { subject, client: claims.client_id ?? claims.azp, actor, audience: claims.aud, scopes };
}
