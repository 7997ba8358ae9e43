import { type Content, type Html, html, htmlDocument } from './html.ts';
import type { CalendarEvent, Message } from './web-api.ts';

/** Who is signed in, by the ID token; `undefined` is nobody. */
export type Visitor = { name: string } | undefined;

/** Where a token came from. Never the token: it has no business in a page. */
export interface TokenOrigin {
  source: 'cache' | 'provider';
  reason?: string | undefined;
  expiresIn: number;
  scopes: readonly string[];
}

const places = [
  ['/', 'Home'],
  ['/profile', 'Profile'],
  ['/mail', 'Mail'],
  ['/calendar', 'Calendar'],
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

export function homePage(visitor: Visitor): string {
  return page('Home', visitor, '/', visitor ? welcomeBack(visitor.name) : welcome);
}

const welcome = html`<h1>One sign-in, a token for each API</h1>
<p>This app signs you in at an OpenID Provider and reads your mail and your calendar from a web API. Each of the two
needs an access token of its own. The app sees to that by itself, from its cache or by a refresh, and sends you to the
provider only where nobody but you can decide.</p>
<p><a class="button" href="/login">Sign in</a></p>
<p class="soft">Or go straight to <a href="/mail">your mail</a>: you sign in on the way, and end up there.</p>`;

function welcomeBack(name: string): Html {
  return html`<h1>Hello, ${name}</h1>
<div class="card">
  <h2><a href="/mail">Mail</a></h2>
  <p>The first visit asks for your consent to read it. Every later one is silent.</p>
  <h2><a href="/calendar">Calendar</a></h2>
  <p>Another resource, with a token of its own. The mail token stays in the cache beside it.</p>
  <h2><a href="/profile">Profile</a></h2>
  <p>What the ID token says about you. No API is called for it.</p>
</div>
<p class="soft">Reload a page and look at its foot: it says where the token came from, and why.</p>`;
}

export function profilePage(visitor: Visitor, claims: { iss: string; sub: string }): string {
  const body = html`<h1>Profile</h1>
<div class="card">
  <h2>Your account</h2>
  <dl><dt>Provider</dt><dd>${claims.iss}</dd><dt>Subject</dt><dd>${claims.sub}</dd></dl>
</div>
<div class="card">
  <h2>The claims of your ID token</h2>
  <dl>${Object.entries(claims).map(([name, value]) => html`<dt>${name}</dt><dd>${asText(value)}</dd>`)}</dl>
</div>`;
  return page('Profile', visitor, '/profile', body);
}

export function mailPage(visitor: Visitor, answer: unknown, origin: TokenOrigin): string {
  const { messages } = answer as { messages?: Message[] };
  const list = messages?.map(
    ({ from, subject, text }) =>
      html`<li><span class="when">${from}</span><strong>${subject}</strong><br>${text}</li>`,
  );
  return page(
    'Mail',
    visitor,
    '/mail',
    html`<h1>Mail</h1>${listOrRaw(list, answer)}${foot('/mail', origin)}`,
  );
}

export function calendarPage(visitor: Visitor, answer: unknown, origin: TokenOrigin): string {
  const { events } = answer as { events?: CalendarEvent[] };
  const list = events?.map(({ at, title }) => html`<li><span class="when">${at}</span>${title}</li>`);
  const body = html`<h1>Calendar</h1>${listOrRaw(list, answer)}${foot('/calendar', origin)}`;
  return page('Calendar', visitor, '/calendar', body);
}

/** A real API's answer has some other shape: it is shown as it came. */
function listOrRaw(list: Html[] | undefined, answer: unknown): Html {
  if (list) return html`<ul class="list">${list}</ul>`;
  return html`<div class="card"><pre>${JSON.stringify(answer, null, 2)}</pre></div>`;
}

function foot(address: string, { source, reason, expiresIn, scopes }: TokenOrigin): Html {
  const cached = source === 'cache';
  const from = cached ? 'the cache, without a call to the provider' : 'the provider, just now';
  const why = reason ? (reasons[reason] ?? reason) : cached ? 'it is still good' : 'this page needed one';
  return html`<section class="card" aria-label="The access token">
  <h2>The access token for this page</h2>
  <dl>
    <dt>came from</dt><dd id="source">${from}</dd>
    <dt>because</dt><dd id="reason">${why}</dd>
    <dt>expires in</dt><dd id="expires">${expiresIn} s</dd>
    <dt>granted scopes</dt><dd id="scopes">${scopes.join(' ') || 'none named'}</dd>
  </dl>
  <p class="actions"><a class="button quiet" href="${address}">Reload</a>
  <a class="button quiet" href="${address}?refresh">Ask the provider for a new one</a></p>
</section>`;
}

const reasons: Record<string, string> = {
  expired: 'the one in the cache had expired, or was about to',
  no_cached_token: 'the cache had none for this API',
  forced: 'you asked for a new one',
  claims: 'the API asked for more claims',
  stale: 'the provider does not answer, and this one has not run out yet',
  refresh_soon: 'the one in the cache was getting old',
};

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

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
