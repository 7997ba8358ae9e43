import type { Express } from 'express';
import { type AuthHandle, requiresAuth } from 'express-oidc-tokens';
import { type Html, html, sendPage } from '../html.ts';
import type { Grants } from './grants.ts';
import { notSetUpPage, page, visitorOf } from './layout.ts';
import { NightlyJob, type Run } from './nightly-job.ts';
import type { Surroundings } from './surroundings.ts';
import { because, grantsEntry } from './token-card.ts';

/** A page about the job. The job needs neither it nor anybody who is signed in. */
export function addNightlyJob(
  app: Express,
  oidc: AuthHandle,
  { access, grantsOf }: Surroundings,
  everySeconds: number | undefined,
): NightlyJob | undefined {
  const job =
    access.statistics && everySeconds ? new NightlyJob(oidc, access.statistics, everySeconds) : undefined;

  app.get(
    '/nightly',
    requiresAuth(async (request, response) => {
      const visitor = visitorOf(request);
      if (!access.statistics) return sendPage(response, 200, notSetUpPage(visitor, 'statistics'));
      const client = job?.runs.map(clientOf).find((one) => one !== undefined);
      const grants = client === undefined ? undefined : await grantsOf(client);
      const body = job ? nightlyPage(job.runs, everySeconds, grants) : elsewhere;
      sendPage(response, 200, page('Nightly job', visitor, '/nightly', body));
    }),
  );

  app.post(
    '/nightly',
    requiresAuth(async (_request, response) => {
      await job?.run();
      response.redirect(303, '/nightly');
    }),
  );

  return job;
}

function clientOf(run: Run): string | undefined {
  return 'answer' in run ? run.answer.caller.subject : undefined;
}

const elsewhere = html`<h1>Nightly job</h1>
<p>It does not run in this process. <code>npm start</code> runs it.</p>`;

function nightlyPage(runs: readonly Run[], everySeconds = 0, grants: Grants | undefined): Html {
  return html`<h1>Nightly job</h1>
<p>It counts the messages of all people: no user may do that, so no user's token would do. The app has a token of its
own for it. The night is short here: the job runs every ${everySeconds} seconds, whether anybody is signed in or not.</p>
<form method="post" action="/nightly"><p><button>Run it now</button>
<a class="button quiet" href="/nightly">Reload</a></p></form>
${runs.length === 0 ? html`<p class="soft" id="none">It has not run yet.</p>` : html`<ul class="list" id="runs">${runs.map(runItem)}</ul>`}
${grants && html`<section class="card"><h2>The app itself</h2><dl>${grantsEntry(grants)}</dl></section>`}`;
}

function runItem(run: Run): Html {
  const at = `${run.at.toISOString().slice(11, 19)} UTC`;
  if ('failure' in run)
    return html`<li><span class="when">${at}</span><strong>Failed.</strong> ${run.failure}</li>`;
  const counts = Object.entries(run.answer.messages).map(([name, count]) => `${name}: ${count}`);
  return html`<li><span class="when">${at}</span><strong>Messages: ${counts.join(', ')}</strong><br>
A token of <code>${run.answer.caller.subject}</code> from the ${run.token.source}: ${because(run.token)}.</li>`;
}
