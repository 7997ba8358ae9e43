import { expect } from '@jest/globals';
import express5, { type Express, type Request, type RequestHandler } from 'express';
import { requiresAuth, requiresToken } from 'express-oidc-tokens';
import express4 from 'express4';
import { type AppOptions, startApp } from '../support/app.ts';
import { type Answer, Browser, type NavigateInit, type Page } from '../support/browser.ts';
import { type ProviderOptions, startProvider, type TestProvider } from '../support/provider.ts';
import { closing, type Journey } from './challenge-setup.ts';

export const FORM_TYPE = 'application/x-www-form-urlencoded';

/** What a handler saw of a request. */
export interface Seen {
  method: string;
  originalUrl: string;
  url: string;
  query: unknown;
  body: unknown;
  type: string | undefined;
  site: string | undefined;
  origin: string | undefined;
  referer: string | undefined;
  user: string | undefined;
}

export interface StageOptions {
  express?: 4 | 5;
  /** Where the app parses forms: before express-session, after `auth()`, behind the guard, or nowhere. */
  parser?: 'before' | 'after' | 'guarded' | 'none';
  extended?: boolean;
  signedIn?: boolean;
  auth?: AppOptions['auth'];
  store?: AppOptions['store'];
  session?: AppOptions['session'];
  provider?: ProviderOptions;
  port?: number;
  before?: AppOptions['before'];
  more?: (app: Express, record: RequestHandler, provider: TestProvider) => void;
}

export type Stage = Journey & { seen: Seen[]; form: string };

/** An app that keeps POSTs: `/guarded` behind requiresAuth, `/tokened` behind requiresToken, `/handled` by getToken. */
export async function stage(options: StageOptions = {}): Promise<Stage> {
  const { express = 5, parser = 'after', extended = false, signedIn = false } = options;
  const parse = (express === 4 ? express4 : express5).urlencoded({ extended });
  const behind = parser === 'guarded' ? [parse] : [];
  const seen: Seen[] = [];
  const handled: RequestHandler = (req, _res, next) => {
    req.getToken('a').then(() => next(), next);
  };
  const record: RequestHandler = (req, res) => {
    seen.push(seenOf(req));
    res.json(seen.at(-1));
  };
  const provider = closing(await startProvider(options.provider));
  const { store, port, session } = options;
  const app = closing(
    await startApp({
      provider,
      express,
      ...(store ? { store } : {}),
      ...(port ? { port } : {}),
      ...(session ? { session } : {}),
      auth: { preservePost: true, ...options.auth },
      before: (routes) => {
        if (parser === 'before') routes.use(parse);
        options.before?.(routes);
      },
      routes: (routes) => {
        if (parser === 'after') routes.use(parse);
        routes.all('/guarded', requiresAuth(), ...behind, record);
        routes.all('/tokened', requiresToken('a'), ...behind, record);
        routes.all('/handled', handled, ...behind, record);
        options.more?.(routes, record, provider);
      },
    }),
  );
  const browser = closing(new Browser());
  if (signedIn) expect((await browser.login(app)).text).toBe('signed in as alice');
  return { provider, app, browser, seen, form: `${app.url}/form` };
}

function seenOf(req: Request): Seen {
  const { headers, method, originalUrl, url, query } = req;
  const { 'content-type': type, 'sec-fetch-site': site, origin, referer } = headers;
  const body: unknown = req.body;
  return {
    method,
    originalUrl,
    url,
    query,
    body,
    type,
    site,
    origin,
    referer,
    user: req.oidc.account?.subject,
  };
}

type Body = string | Record<string, string>;

/** What a page of the app sends; `init` may change who says to have sent it. */
export function post(
  { browser, app, form }: Pick<Stage, 'browser' | 'app' | 'form'>,
  path: string,
  body: Body,
  init: NavigateInit = {},
): Promise<Page> {
  const headers = typeof body === 'string' ? { 'content-type': FORM_TYPE } : {};
  const request = { method: 'POST', body, from: form, ...init, headers: { ...headers, ...init.headers } };
  return browser.navigate(app.url + path, request);
}

/** A kept POST whose sign-in is done; `held` is the GET that replays it. */
export async function kept(
  from: Stage,
  path: string,
  body: Body = { n: '1' },
): Promise<{ url: string; id: string }> {
  const { held } = await post(from, path, body, { stopAt: (url) => url.searchParams.has('oidc_post') });
  if (held === undefined) throw new Error('nothing was kept');
  expect(from.seen).toEqual([]);
  return { url: held.url, id: new URL(held.url).searchParams.get('oidc_post') ?? '' };
}

/** One request for a page, without following what it answers. */
export function page(
  { browser }: Pick<Stage, 'browser'>,
  url: string,
  method = 'GET',
  headers = {},
): Promise<Answer> {
  const own = { accept: 'text/html', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  return browser.request(url, { method, headers: { ...own, ...headers } });
}
