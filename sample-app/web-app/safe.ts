import type { Express } from 'express';
import { requiresAuth } from 'express-oidc-tokens';
import { html, sendPage } from '../html.ts';
import { page, visitorOf } from './layout.ts';
import { signInCard } from './sign-in-card.ts';
import type { Surroundings } from './surroundings.ts';

const MAX_AGE_SECONDS = 60;

/** A page for those alone who have just shown that it is them. */
export function addSafe(app: Express, { stepUpAcr, grantsOf }: Surroundings): void {
  const demands = { maxAge: MAX_AGE_SECONDS, ...(stepUpAcr ? { acr: stepUpAcr } : {}) };
  app.get(
    '/safe',
    requiresAuth(demands, async (request, response) => {
      const { user } = request.oidc;
      const body = html`<h1>The safe is open</h1>
<div class="card"><p>The key to the shed lies under the third flowerpot from the left.</p></div>
${signInCard(user, await grantsOf(user.sub))}
<p class="soft">The page itself demands this: a second factor, shown within the last ${MAX_AGE_SECONDS} seconds, give or
take the half minute that two clocks may differ. Come back later and you are asked again; your mail will not ask.</p>
<p class="actions"><a class="button quiet" href="/safe">Reload</a></p>`;
      sendPage(response, 200, page('Safe', visitorOf(request), '/safe', body));
    }),
  );
}
