import { randomBytes } from 'node:crypto';
import express, { type Express } from 'express';
import { auth } from 'express-oidc-tokens';
import session, { type Store } from 'express-session';
import { sendPage } from '../html.ts';
import type { ApiAccess, ApiName, Client } from '../settings.ts';
import { styleSheet } from '../style.ts';
import { addContacts } from './contacts.ts';
import { grantsAt } from './grants.ts';
import { addHome } from './home.ts';
import { problemPage, visitorOf } from './layout.ts';
import { addMailAndCalendar } from './mail-and-calendar.ts';
import { addNightlyJob } from './nightly.ts';
import { addPayments } from './payments.ts';
import { showProblem } from './problems.ts';
import { addProfile } from './profile.ts';
import { addSafe } from './safe.ts';

export interface WebAppOptions extends Client {
  baseUrl: string;
  issuer: string;
  access: Partial<Record<ApiName, ApiAccess>>;
  /** What the provider calls a sign-in with a second factor. */
  stepUpAcr?: string | undefined;
  /** Where the local provider says what it has seen. */
  grantsUrl?: string | undefined;
  /** Absent: there is no nightly job in this process. */
  nightlyEverySeconds?: number;
  /** Where sessions live; without one, in this process's memory. */
  store?: Store;
  /** More pages, behind the sign-in. */
  addPages?: (app: Express) => void;
}

export interface WebApp {
  app: Express;
  /** Ends the nightly job, and lets a refresh that is under way finish and be stored. */
  close: () => Promise<void>;
}

export function createWebApp(options: WebAppOptions): WebApp {
  const { access, stepUpAcr, grantsUrl, nightlyEverySeconds, store, addPages, ...provider } = options;
  const app = express().disable('x-powered-by');
  const https = provider.baseUrl.startsWith('https:');
  if (https) app.set('trust proxy', 1); // TLS ends at a proxy in front: without this no Secure cookie is ever set

  app.get('/style.css', (_request, response) => response.type('css').send(styleSheet));
  app.use(
    session({
      name: 'sample.sid',
      secret: process.env.SESSION_SECRET || randomBytes(32).toString('base64url'),
      resave: false,
      saveUninitialized: false,
      cookie: { httpOnly: true, sameSite: 'lax', secure: https },
      ...(store ? { store } : {}),
    }),
  );

  const oidc = auth({
    ...provider,
    resources: resourcesOf(access),
    // Sessions in this process's memory need a key that lives no longer. An app that keeps its sessions elsewhere sets
    // OIDC_ENCRYPTION_KEYS.
    ...(process.env.OIDC_ENCRYPTION_KEYS
      ? {}
      : { encryptionKeys: [{ kid: 'this-run', key: randomBytes(32) }] }),
  });
  app.use(oidc);

  const surroundings = { access, stepUpAcr, grantsOf: grantsAt(grantsUrl) };
  addHome(app, surroundings);
  addMailAndCalendar(app, surroundings);
  addContacts(app, surroundings);
  addPayments(app, surroundings);
  addSafe(app, surroundings);
  addProfile(app);
  const job = addNightlyJob(app, oidc, surroundings, nightlyEverySeconds);
  addPages?.(app);

  app.use((request, response) => {
    const page = problemPage(visitorOf(request), '/', 'Nothing here', 'No page has this address.');
    sendPage(response, 404, page);
  });
  app.use(showProblem);
  return {
    app,
    close: async () => {
      await job?.stop();
      await oidc.close();
    },
  };
}

/** The APIs that users have tokens for. Every login names them all, so the nightly job's is not among them. */
function resourcesOf({ mail, calendar, contacts, payments }: WebAppOptions['access']) {
  const named = Object.entries({ mail, calendar, contacts, payments });
  return Object.fromEntries(
    named.flatMap(([name, api]) => (api ? [[name, { ...api, url: withoutQuery(api.url) }]] : [])),
  );
}

function withoutQuery(url: string): string {
  return url.replace(/\?.*/, '');
}
