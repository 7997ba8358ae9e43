import express, { type Express } from 'express';
import { auth, requiresBearer } from 'express-oidc-tokens';
import type { ApiAccess, ApiName, ApiRule, Client } from '../settings.ts';
import { type Caller, callerOf } from './caller.ts';
import { eventsOf, messageCounts, messagesOf, paymentsOf } from './data.ts';
import type { DirectoryAnswer } from './directory.ts';
import { answerInJson } from './problems.ts';

export interface WebApiOptions {
  issuer: string;
  /** Who this API is at the provider when it asks for a token itself. */
  client: Client;
  rules: Partial<Record<ApiName, ApiRule>>;
  /** The second API, which this one calls for its caller's user. */
  directory: ApiAccess | undefined;
  /** The sign-in that payments are shown for. */
  stepUpAcr: string | undefined;
}

/** What `/contacts` answers: the contacts, and for those who want to know it how it came by them. */
export interface ContactsAnswer {
  contacts: string[];
  /** By whom each API was called, the first one first. */
  callers: Caller[];
  exchange: { source: string; reason?: string | undefined };
}

export interface StatisticsAnswer {
  /** How many wait for whom. */
  messages: Record<string, number>;
  caller: Caller;
}

export interface WebApi {
  app: Express;
  close: () => Promise<void>;
}

/** Each endpoint has its own audience and scope. A token for one does not open another. */
export function createWebApi({ issuer, client, rules, directory, stepUpAcr }: WebApiOptions): WebApi {
  const app = express().disable('x-powered-by');
  const oidc = auth({ session: false, issuer, ...client, resources: directory ? { directory } : {} });
  app.use(oidc);

  if (rules.mail) {
    app.get(
      '/mail',
      requiresBearer(demands(rules.mail), ({ bearer }, response) => {
        response.json({ messages: messagesOf(bearer.subject) });
      }),
    );
  }

  if (rules.calendar) {
    app.get(
      '/calendar',
      requiresBearer(demands(rules.calendar), ({ bearer }, response) => {
        response.json({ events: eventsOf(bearer.subject, new Date()) });
      }),
    );
  }

  // On behalf of the user whose token came in, this API calls another one.
  if (rules.contacts && directory) {
    app.get(
      '/contacts',
      requiresBearer(demands(rules.contacts), async (request, response) => {
        const { accessToken, source, reason } = await request.getTokenOnBehalfOf('directory');
        const headers = { authorization: `Bearer ${accessToken}` };
        const answer = await fetch(directory.url, { headers, signal: AbortSignal.timeout(5000) });
        if (!answer.ok) throw new Error(`The directory answered ${answer.status}`);
        const { contacts, caller } = (await answer.json()) as DirectoryAnswer;
        const callers = [callerOf(request.bearer), caller];
        response.json({ contacts, callers, exchange: { source, reason } } satisfies ContactsAnswer);
      }),
    );
  }

  // A token is not enough here: RFC 9470. Who has signed in without a second factor gets a 401 that says so.
  if (rules.payments) {
    const stronger = stepUpAcr ? { acrValues: stepUpAcr } : {};
    app.get(
      '/payments',
      requiresBearer({ ...demands(rules.payments), ...stronger }, ({ bearer }, response) => {
        response.json({ payments: paymentsOf(bearer.subject) });
      }),
    );
  }

  // For an app, not for a user: the token's subject must be the app that runs the nightly job.
  if (rules.statistics) {
    app.get(
      '/statistics',
      requiresBearer(demands(rules.statistics), ({ bearer }, response) => {
        response.json({ messages: messageCounts(), caller: callerOf(bearer) } satisfies StatisticsAnswer);
      }),
    );
  }

  app.use(answerInJson);
  return { app, close: oidc.close };
}

function demands({ audience, scope, claims = {} }: ApiRule) {
  return { audience, scopes: scope, claims };
}
