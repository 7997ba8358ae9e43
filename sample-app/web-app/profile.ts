import type { Express } from 'express';
import { requiresAuth } from 'express-oidc-tokens';
import { html, sendPage } from '../html.ts';
import { page, visitorOf } from './layout.ts';

/** A guard around a handler: inside it there is a user, for the compiler too. No API is called, no token needed. */
export function addProfile(app: Express): void {
  app.get(
    '/profile',
    requiresAuth((request, response) => {
      const { user: claims } = request.oidc;
      const body = html`<h1>Profile</h1>
<div class="card">
  <h2>Your account</h2>
  <dl><dt>Provider</dt><dd>${claims.iss}</dd><dt>Subject</dt><dd>${claims.sub}</dd></dl>
</div>
<div class="card">
  <h2>The claims of your ID token</h2>
  <dl>${Object.entries(claims).map(([name, value]) => html`<dt>${name}</dt><dd>${asText(value)}</dd>`)}</dl>
</div>`;
      sendPage(response, 200, page('Profile', visitorOf(request), '/profile', body));
    }),
  );
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
