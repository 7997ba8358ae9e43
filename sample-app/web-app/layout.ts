import type { Request } from 'express';
import { type Content, html, htmlDocument } from '../html.ts';

/** Who is signed in, by the ID token; `undefined` is nobody. */
export type Visitor = { name: string } | undefined;

const places = [
  ['/', 'Home'],
  ['/mail', 'Mail'],
  ['/calendar', 'Calendar'],
  ['/contacts', 'Contacts'],
  ['/payments', 'Payments'],
  ['/safe', 'Safe'],
  ['/nightly', 'Nightly'],
  ['/profile', 'Profile'],
] as const;

export function page(title: string, visitor: Visitor, address: string, body: Content): string {
  const links = visitor ? places : places.slice(0, 1);
  const header = html`<header><nav>
${links.map(([href, name]) => html`  <a href="${href}"${href === address ? html` aria-current="page"` : ''}>${name}</a>\n`)}
${
  visitor
    ? html`  <span class="push soft">${visitor.name}</span>
  <form method="post" action="/logout"><button class="link">Sign out</button></form>`
    : html`  <a class="push" href="/login">Sign in</a>`
}
</nav></header>`;
  return htmlDocument(`${title} · express-oidc-tokens sample`, header, body);
}

export function visitorOf({ oidc }: Request): Visitor {
  if (!oidc.isAuthenticated()) return undefined;
  const { account } = oidc;
  return { name: account.name ?? account.username ?? account.subject };
}

export function notSetUpPage(visitor: Visitor, name: string): string {
  const prefix = name.toUpperCase();
  const body = html`<h1>Not set up</h1>
<p>This app talks to a real provider and was not told which scopes to ask it for here. Set <code>${prefix}_SCOPES</code>
(and, where your provider wants one of them, <code>${prefix}_RESOURCE</code> or <code>${prefix}_AUDIENCE</code>) and
start it again. The sample's README has examples.</p>`;
  return page('Not set up', visitor, `/${name}`, body);
}

export function problemPage(visitor: Visitor, address: string, title: string, what: string): string {
  const body = html`<h1>${title}</h1><p>${what}</p>
<p class="actions">${address === '/' ? undefined : html`<a class="button" href="${address}">Try again</a>`}
<a class="button quiet" href="/">Home</a></p>`;
  return page(title, visitor, '', body);
}
