import { type Html, html, htmlDocument } from '../html.ts';
import type { Person } from './people.ts';

const meanings: Record<string, string> = {
  openid: 'know who you are',
  profile: 'see your name',
  email: 'see your e-mail address',
  offline_access: 'keep its access while you are away',
  'mail.read': 'read your mail',
  'calendar.read': 'read your calendar',
  'contacts.read': 'look up your contacts',
  'payments.read': 'see your payments',
};

function page(title: string, body: Html): string {
  const header = html`<header><nav><span class="soft">Local provider · for development, no passwords</span></nav></header>`;
  return htmlDocument(title, header, html`<div class="narrow">${body}</div>`);
}

export function loginPage(address: string, people: readonly Person[], hint: unknown): string {
  return page(
    'Sign in',
    html`<h1>Who are you today?</h1>
<p class="soft">Choose one of the two people who live here. Neither needs a password.</p>
<form method="post" action="${address}/login">
${people.map(
  (
    person,
  ) => html`<button class="person ${person.sub === hint ? 'hinted' : ''}" name="user" value="${person.sub}">
  <span class="initial" aria-hidden="true">${person.name.charAt(0)}</span>
  <span>${person.name}<br><span class="soft">${person.email}</span></span>
</button>`,
)}
</form>`,
  );
}

/** Where a real provider would want a code from a phone. */
export function confirmPage(address: string, person: Person): string {
  return page(
    'Is it really you?',
    html`<h1>Is it really you, ${firstName(person)}?</h1>
<div class="card">
  <p>The sample app wants to be sure before it goes on.</p>
  <p class="soft">A real provider would ask for a fingerprint or a code from your phone now. Here a click will do.</p>
  <div class="actions">
    <form method="post" action="${address}/confirm"><button autofocus>Yes, it is me</button></form>
    <form method="post" action="${address}/deny"><button class="quiet">No, go back</button></form>
  </div>
</div>`,
  );
}

export function consentPage(
  address: string,
  person: Person | undefined,
  asked: string[],
  earlier: string[],
): string {
  return page(
    'Is this all right?',
    html`<h1>Is this all right${person && `, ${firstName(person)}`}?</h1>
<div class="card">
  <p>The sample app would like to:</p>
  <ul class="scopes">
${inOrder(asked).map((scope) => html`    <li>${meanings[scope] ?? 'use'} <code class="soft">${scope}</code></li>\n`)}  </ul>
${earlier.length > 0 && asked.length > 0 ? alreadyAllowed(earlier) : undefined}
  <div class="actions">
    <form method="post" action="${address}/allow"><button autofocus>Allow</button></form>
    <form method="post" action="${address}/deny"><button class="quiet">No, go back</button></form>
  </div>
</div>`,
  );
}

/** The weighty ones last, where they are noticed. */
function inOrder(scopes: string[]): string[] {
  const known = Object.keys(meanings);
  return scopes.toSorted((a, b) => known.indexOf(a) - known.indexOf(b));
}

function alreadyAllowed(scopes: string[]): Html {
  return html`  <p class="soft">You allowed it earlier to ${scopes.map((scope) => meanings[scope] ?? scope).join(' and ')}.
  That stays as it is.</p>`;
}

function firstName(person: Person): string {
  return person.name.split(' ')[0] ?? person.name;
}

/** `form` is oidc-provider's own hidden form, its token against cross-site requests inside. */
export function signOutPage(form: Html, submitAtOnce: boolean): string {
  return page(
    'Sign out',
    html`<h1>${submitAtOnce ? 'Signing you out…' : 'Sign out of the local provider?'}</h1>
${form}
<p class="actions">
  <button form="op.logoutForm" name="logout" value="yes">Sign out</button>
  ${submitAtOnce ? undefined : html`<button class="quiet" form="op.logoutForm">Stay signed in</button>`}
</p>
${submitAtOnce ? html`<script src="/submit.js"></script>` : undefined}`,
  );
}

export function signedOutPage(backTo: string): string {
  return page(
    'Signed out',
    html`<h1>You are signed out</h1><p><a class="button" href="${backTo}">Back to the sample app</a></p>`,
  );
}

export function problemPage(what: string, backTo: string): string {
  return page(
    'That did not work',
    html`<h1>That did not work</h1><p>${what}</p><p><a class="button" href="${backTo}">Back to the sample app</a></p>`,
  );
}
