import type { Express } from 'express';
import { type Html, html, sendPage } from '../html.ts';
import { inWords } from './grants.ts';
import { page, type Visitor, visitorOf } from './layout.ts';
import type { Surroundings } from './surroundings.ts';

/** Each kind of token has its page. */
const tour: { href: string; name: string; what: string; look: string }[] = [
  {
    href: '/mail',
    name: 'Mail',
    what: 'An API is called with your token. The first visit asks for your consent; every later one is silent.',
    look: 'the token came from the cache, or from the provider and why.',
  },
  {
    href: '/calendar',
    name: 'Calendar',
    what: 'Another API, a token of its own. The mail token stays in the cache beside it.',
    look: 'the number of refreshes stands still while you go to and fro.',
  },
  {
    href: '/contacts',
    name: 'Contacts',
    what: 'The API calls a second API on your behalf, with a token that it got for yours.',
    look: 'both APIs know that it is you; the second one also sees which API acts for you.',
  },
  {
    href: '/payments',
    name: 'Payments',
    what: 'The API wants a stronger sign-in than you had. You are asked for it, and the page comes.',
    look: 'how you signed in, before and after; the profile shows it too.',
  },
  {
    href: '/safe',
    name: 'Safe',
    what: 'The page wants a stronger sign-in, and a recent one.',
    look: 'a minute and a half later it asks again.',
  },
  {
    href: '/nightly',
    name: 'Nightly job',
    what: 'The app works without any user, with a token of its own.',
    look: 'the token is for the app, and lies in no user’s cache.',
  },
  {
    href: '/profile',
    name: 'Profile',
    what: 'What the ID token says about you. No API is called for it.',
    look: 'acr and auth_time: how and when you signed in.',
  },
];

export function addHome(app: Express, { grantsOf }: Surroundings): void {
  app.get('/', async (request, response) => {
    const visitor = visitorOf(request);
    const subject = request.oidc.account?.subject;
    const grants = subject === undefined ? undefined : await grantsOf(subject);
    const seen =
      grants &&
      html`<p class="soft">The provider has seen for you so far: <span id="grants">${inWords(grants)}</span>.</p>`;
    sendPage(
      response,
      200,
      page('Home', visitor, '/', [visitor ? greeting(visitor) : welcome, seen, tourList]),
    );
  });
}

const welcome = html`<h1>One sign-in, a token for each API</h1>
<p>This app signs you in at an OpenID Provider and calls web APIs for you. Each of them needs an access token of its own.
The app sees to that by itself, from its cache or by a refresh, and sends you to the provider only where nobody but you
can decide.</p>
<p><a class="button" href="/login">Sign in</a></p>
<p class="soft">Or go straight to a page: you sign in on the way, and end up there.</p>`;

function greeting({ name }: NonNullable<Visitor>): Html {
  return html`<h1>Hello, ${name}</h1>
<p>Every page below needs another kind of token. Reload a page and look at its foot: it says where the token came from.</p>`;
}

const tourList = html`<ul class="list">${tour.map(
  ({ href, name, what, look }) => html`<li><strong><a href="${href}">${name}</a></strong><br>${what}
<span class="look">Look at this: ${look}</span></li>`,
)}</ul>`;
