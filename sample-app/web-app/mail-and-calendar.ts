import type { Express, RequestHandler } from 'express';
import { requiresAuth } from 'express-oidc-tokens';
import { type Html, html, sendPage } from '../html.ts';
import type { ApiAccess } from '../settings.ts';
import type { CalendarEvent, Message } from '../web-api/data.ts';
import { callApi } from './call-api.ts';
import { notSetUpPage, page, visitorOf } from './layout.ts';
import type { Surroundings } from './surroundings.ts';
import { tokenCard } from './token-card.ts';

type Name = 'mail' | 'calendar';

/** Two APIs, two tokens, side by side in the user's cache. */
export function addMailAndCalendar(app: Express, { access, grantsOf }: Surroundings): void {
  app.get('/mail', requiresAuth(), show('mail', 'Mail', access.mail, mailList));
  app.get('/calendar', requiresAuth(), show('calendar', 'Calendar', access.calendar, calendarList));

  function show(
    name: Name,
    title: string,
    api: ApiAccess | undefined,
    list: (answer: object) => Html[] | undefined,
  ): RequestHandler {
    return async function showApi(request, response) {
      const visitor = visitorOf(request);
      if (!api) return sendPage(response, 200, notSetUpPage(visitor, name));

      // For the card at the foot, and for its button; the next line alone would do.
      const { url: _url, ...wanted } = api;
      const isForced = request.query.refresh !== undefined;
      const token = await request.getToken(isForced ? { ...wanted, forceRefresh: true } : name);
      const answer = await callApi(request, name, api);

      const grants = await grantsOf(token.account.subject);
      const body = html`<h1>${title}</h1>${listOrRaw(list(answer as object), answer)}
${tokenCard(`/${name}`, token, grants)}`;
      sendPage(response, 200, page(title, visitor, `/${name}`, body));
    };
  }
}

function mailList({ messages }: { messages?: Message[] }): Html[] | undefined {
  return messages?.map(
    ({ from, subject, text }) =>
      html`<li><span class="when">${from}</span><strong>${subject}</strong><br>${text}</li>`,
  );
}

function calendarList({ events }: { events?: CalendarEvent[] }): Html[] | undefined {
  return events?.map(({ at, title }) => html`<li><span class="when">${at}</span>${title}</li>`);
}

/** A real API's answer has some other shape: it is shown as it came. */
function listOrRaw(list: Html[] | undefined, answer: unknown): Html {
  if (list) return html`<ul class="list">${list}</ul>`;
  return html`<div class="card"><pre>${JSON.stringify(answer, null, 2)}</pre></div>`;
}
