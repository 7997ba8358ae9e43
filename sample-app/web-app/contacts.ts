import type { Express } from 'express';
import { requiresAuth } from 'express-oidc-tokens';
import { type Html, html, sendPage } from '../html.ts';
import type { ContactsAnswer } from '../web-api/app.ts';
import type { Caller } from '../web-api/caller.ts';
import { callApi } from './call-api.ts';
import type { Grants } from './grants.ts';
import { notSetUpPage, page, visitorOf } from './layout.ts';
import type { Surroundings } from './surroundings.ts';
import { because, fromWhere, grantsEntry } from './token-card.ts';

/** The API behind this page calls a second one on behalf of the user. Here it looks like any other call. */
export function addContacts(app: Express, { access, grantsOf }: Surroundings): void {
  app.get(
    '/contacts',
    requiresAuth(async (request, response) => {
      const visitor = visitorOf(request);
      const { contacts: api } = access;
      if (!api) return sendPage(response, 200, notSetUpPage(visitor, 'contacts'));

      const answer = (await callApi(request, 'contacts', api)) as ContactsAnswer;
      const grants = await grantsOf(request.oidc.user.sub);
      sendPage(response, 200, page('Contacts', visitor, '/contacts', contactsPage(answer, grants)));
    }),
  );
}

function contactsPage({ contacts, callers, exchange }: ContactsAnswer, grants: Grants | undefined): Html {
  return html`<h1>Contacts</h1>
<ul class="list">${contacts.map((name) => html`<li>${name}</li>`)}</ul>
<section class="card" aria-label="Who called whom">
  <h2>Who called whom</h2>
  <p>The web API has no contacts. It asked a second API, the directory, on your behalf: it exchanged the token that it
  was called with for one that the directory takes.</p>
  <table>
    <tr><th></th><th scope="col">the web API saw</th><th scope="col">the directory saw</th></tr>
${rows.map(
  ([name, read]) =>
    html`    <tr><th scope="row">${name}</th>${callers.map((one) => html`<td>${read(one)}</td>`)}</tr>\n`,
)}  </table>
</section>
<section class="card" aria-label="The exchanged token">
  <h2>The token for the directory</h2>
  <dl>
    <dt>came from</dt><dd id="source">${fromWhere(exchange.source)}</dd>
    <dt>because</dt><dd id="reason">${because(exchange as Parameters<typeof because>[0])}</dd>
    ${grantsEntry(grants)}
  </dl>
  <p class="actions"><a class="button quiet" href="/contacts">Reload</a></p>
</section>`;
}

const rows: [name: string, read: (caller: Caller) => string][] = [
  ['user', ({ subject }) => asText(subject)],
  ['client', ({ client }) => asText(client)],
  ['acts for the user', ({ actor }) => asText(actor)],
  ['token is for', ({ audience }) => asText(audience)],
  ['scope', ({ scopes }) => scopes.join(' ')],
];

function asText(value: unknown): string {
  return value === undefined ? 'nobody' : [value].flat().join(' ');
}
