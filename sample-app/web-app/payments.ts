import type { Express } from 'express';
import { requiresAuth } from 'express-oidc-tokens';
import { html, sendPage } from '../html.ts';
import type { Payment } from '../web-api/data.ts';
import { callApi } from './call-api.ts';
import { notSetUpPage, page, visitorOf } from './layout.ts';
import { signInCard } from './sign-in-card.ts';
import type { Surroundings } from './surroundings.ts';

/**
 * Nothing here asks for a second factor: the API does. Its 401 says `insufficient_user_authentication` (RFC 9470), and
 * `fetchWithToken` sends the user to the provider for it.
 */
export function addPayments(app: Express, { access, grantsOf }: Surroundings): void {
  app.get(
    '/payments',
    requiresAuth(async (request, response) => {
      const visitor = visitorOf(request);
      const { payments: api } = access;
      if (!api) return sendPage(response, 200, notSetUpPage(visitor, 'payments'));

      const { payments } = (await callApi(request, 'payments', api)) as { payments: Payment[] };
      const { user } = request.oidc;
      const body = html`<h1>Payments</h1>
<ul class="list">${payments.map(({ to, amount }) => html`<li><span class="when">${amount}</span>${to}</li>`)}</ul>
${signInCard(user, await grantsOf(user.sub))}
<p class="soft">This page asks for nothing special. The API does: it refuses the token of a sign-in without a second
factor, and says what it wants. That is why you were asked whether it is really you, unless you had just been asked
elsewhere.</p>`;
      sendPage(response, 200, page('Payments', visitor, '/payments', body));
    }),
  );
}
