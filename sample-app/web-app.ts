import { randomBytes } from 'node:crypto';
import express, { type ErrorRequestHandler, type Express, type Request, type RequestHandler } from 'express';
import { auth, LoginError, requiresAuth } from 'express-oidc-tokens';
import session, { type Store } from 'express-session';
import { sendPage, styleSheet } from './html.ts';
import {
  calendarPage,
  homePage,
  mailPage,
  notSetUpPage,
  problemPage,
  profilePage,
  type TokenOrigin,
  type Visitor,
} from './pages.ts';
import type { ApiAccess, ApiName } from './settings.ts';

export interface WebAppOptions {
  baseUrl: string;
  issuer: string;
  clientId: string;
  clientSecret?: string;
  access: Partial<Record<ApiName, ApiAccess>>;
  /** Where sessions live; without one, in this process's memory. */
  store?: Store;
  /** More pages, behind the sign-in. */
  addPages?: (app: Express) => void;
}

export interface WebApp {
  app: Express;
  /** Lets a refresh that is under way finish and be stored. */
  close: () => Promise<void>;
}

export function createWebApp({ access, store, addPages, ...provider }: WebAppOptions): WebApp {
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
    resources: Object.fromEntries(
      Object.entries(access).map(([name, { url: _url, ...resource }]) => [name, resource]),
    ),
    // Sessions in this process's memory need a key that lives no longer. An app that keeps its sessions elsewhere sets
    // OIDC_ENCRYPTION_KEYS.
    ...(process.env.OIDC_ENCRYPTION_KEYS
      ? {}
      : { encryptionKeys: [{ kid: 'this-run', key: randomBytes(32) }] }),
  });
  app.use(oidc);

  app.get('/', (request, response) => sendPage(response, 200, homePage(visitorOf(request))));

  // A guard around a handler: inside it there is a user, for the compiler too.
  app.get(
    '/profile',
    requiresAuth((request, response) => {
      sendPage(response, 200, profilePage(visitorOf(request), request.oidc.user));
    }),
  );

  // A guard before a handler.
  app.get('/mail', requiresAuth(), showApi('mail', access.mail, mailPage));
  app.get('/calendar', requiresAuth(), showApi('calendar', access.calendar, calendarPage));

  addPages?.(app);

  app.use((request, response) => {
    sendPage(
      response,
      404,
      problemPage(visitorOf(request), '/', 'Nothing here', 'No page has this address.'),
    );
  });
  app.use(showProblem);
  return { app, close: () => oidc.close() };
}

type ApiPage = (visitor: Visitor, answer: unknown, origin: TokenOrigin) => string;

/** The whole of what an app does to call an API for its user: a token, a request, a page. */
function showApi(name: ApiName, api: ApiAccess | undefined, page: ApiPage): RequestHandler {
  return async function show(request, response) {
    const visitor = visitorOf(request);
    if (!api) return sendPage(response, 200, notSetUpPage(visitor, name));

    const { url, ...wanted } = api;
    const forced = request.query.refresh !== undefined;
    const token = await request.getToken(forced ? { ...wanted, forceRefresh: true } : name);
    const answer = await callApi(url, token.accessToken);
    sendPage(
      response,
      200,
      page(visitor, answer, {
        source: token.source,
        reason: token.stale ? 'stale' : token.reason,
        expiresIn: Math.max(0, Math.round(token.expiresAt - Date.now() / 1000)),
        scopes: token.scopes,
      }),
    );
  };
}

class ApiError extends Error {
  readonly status = 502;
}

async function callApi(url: string, accessToken: string): Promise<unknown> {
  const answer = await fetch(url, {
    headers: { authorization: `Bearer ${accessToken}`, accept: 'application/json' },
    signal: AbortSignal.timeout(10_000),
  }).catch((cause: unknown) => {
    throw new ApiError(`The API at ${url} did not answer.`, { cause });
  });
  if (answer.ok) return answer.json();
  const said = answer.headers.get('www-authenticate') ?? '';
  throw new ApiError(`The API at ${url} answered ${answer.status}. ${said}`);
}

export function visitorOf({ oidc }: Request): Visitor {
  if (!oidc.isAuthenticated()) return undefined;
  const { account } = oidc;
  return { name: account?.name ?? account?.username ?? account?.subject ?? '' };
}

/**
 * For the looks only. Where a user has to go to the provider, this page never arrives: the package sends the redirect
 * in its place.
 */
const showProblem: ErrorRequestHandler = (error, request, response, next) => {
  if (response.headersSent) return next(error);
  const status: number = error?.status >= 400 && error.status < 600 ? error.status : 500;
  if (status >= 500) console.error('web app:', error);
  if (error?.headers) response.set(error.headers);
  if (error instanceof LoginError)
    return sendPage(response, status, signInProblem(visitorOf(request), error));
  const what = status === 500 ? 'The log of the web app says more.' : error.message;
  const title = titles[status] ?? 'That did not work';
  sendPage(response, status, problemPage(visitorOf(request), request.originalUrl, title, what));
};

/** The only way is home: the address that a sign-in comes back to is good for one visit. */
function signInProblem(visitor: Visitor, { error, message }: LoginError): string {
  return error === 'access_denied'
    ? problemPage(
        visitor,
        '/',
        'You did not allow it',
        'That is all right. Everything else is as it was before.',
      )
    : problemPage(visitor, '/', 'The sign-in was not completed', message);
}

const titles: Record<number, string> = {
  401: 'Please sign in first',
  403: 'Not allowed',
  502: 'The API did not give an answer',
  503: 'The provider does not answer right now',
};
