import type { IdTokenClaims } from 'express-oidc-tokens';
import { type Html, html } from '../html.ts';
import type { Grants } from './grants.ts';
import { grantsEntry } from './token-card.ts';

/** How and when the user signed in, by the ID token. */
export function signInCard({ acr, auth_time: authTime }: IdTokenClaims, grants: Grants | undefined): Html {
  const seconds =
    typeof authTime === 'number' ? Math.max(0, Math.round(Date.now() / 1000 - authTime)) : undefined;
  return html`<section class="card" aria-label="Your sign-in">
  <h2>Your sign-in</h2>
  <dl>
    <dt>how</dt><dd id="acr">${typeof acr === 'string' ? acr : 'not said'}</dd>
    <dt>when</dt><dd id="age">${seconds === undefined ? 'not said' : `${seconds} s ago`}</dd>
    ${grantsEntry(grants)}
  </dl>
</section>`;
}
