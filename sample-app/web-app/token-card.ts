import type { TokenResult } from 'express-oidc-tokens';
import { type Html, html } from '../html.ts';
import { type Grants, inWords } from './grants.ts';

/** Where a token came from. Never the token: it has no business in a page. */
export type TokenOrigin = Pick<TokenResult, 'source' | 'reason' | 'stale' | 'expiresAt' | 'scopes'>;

export function tokenCard(address: string, origin: TokenOrigin, grants: Grants | undefined): Html {
  return html`<section class="card" aria-label="The access token">
  <h2>The access token for this page</h2>
  <dl>
    <dt>came from</dt><dd id="source">${fromWhere(origin.source)}</dd>
    <dt>because</dt><dd id="reason">${because(origin)}</dd>
    <dt>expires in</dt><dd id="expires">${secondsLeft(origin)} s</dd>
    <dt>granted scopes</dt><dd id="scopes">${origin.scopes.join(' ') || 'none named'}</dd>
    ${grantsEntry(grants)}
  </dl>
  <p class="actions"><a class="button quiet" href="${address}">Reload</a>
  <a class="button quiet" href="${address}?refresh">Ask the provider for a new one</a></p>
</section>`;
}

/** So that it can be seen that nothing was asked behind the scenes. */
export function grantsEntry(grants: Grants | undefined): Html | undefined {
  return grants && html`<dt>provider saw</dt><dd id="grants">${inWords(grants)}</dd>`;
}

export function fromWhere(source: string): string {
  return source === 'cache' ? 'the cache, without a call to the provider' : 'the provider, just now';
}

export function because({ source, reason, stale }: Pick<TokenOrigin, 'source' | 'reason' | 'stale'>): string {
  if (stale) return 'the provider does not answer, and this one has not run out yet';
  if (reason) return reasons[reason] ?? reason;
  return source === 'cache' ? 'it is still good' : 'this page needed one';
}

function secondsLeft({ expiresAt }: Pick<TokenOrigin, 'expiresAt'>): number {
  return Math.max(0, Math.round(expiresAt - Date.now() / 1000));
}

const reasons: Record<string, string> = {
  expired: 'the one in the cache had expired, or was about to',
  no_cached_token: 'the cache had none for this API',
  forced: 'you asked for a new one',
  claims: 'the API asked for more claims',
  refresh_soon: 'the one in the cache was getting old',
};
