import { once } from 'node:events';
import {
  Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
} from 'node:http';
import { CookieJar } from './cookie-jar.ts';
import { findForm } from './html-form.ts';
import { ACCOUNT_HEADER } from './provider-interaction.ts';

/** One request. */
export interface RequestInit {
  method?: string;
  headers?: Record<string, string>;
  /** An object is sent as a form. */
  body?: string | Record<string, string>;
}

/** A request that a browser is about to make. */
export interface PendingRequest extends RequestInit {
  url: string;
  /** The page that caused it; without one the user typed the address. */
  from?: string;
}

export interface NavigateInit extends RequestInit {
  /** The page with the link or form; without one the user typed the address. */
  from?: string;
  /** Ends the navigation before a request is sent; it is in `held` then, to be sent later by `navigate(held)`. */
  stopAt?: (url: URL, method: string) => boolean;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  url: string;
}

export interface Hop {
  status: number;
  url: string;
  method: string;
  location?: string;
}

export interface Page extends Answer {
  hops: Hop[];
  held?: PendingRequest;
}

export interface BrowserOptions {
  /** Who signs in with this browser, whatever the provider's `nextLogin` says. */
  account?: string;
  /** The answer to the provider's `ask` pages. */
  consent?: 'allow' | 'deny';
  jar?: CookieJar;
}

const DOCUMENT = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
const MAX_HOPS = 20;

async function bodyText(res: IncomingMessage): Promise<string> {
  res.setEncoding('utf8');
  let text = '';
  for await (const chunk of res) text += chunk;
  return text;
}

function isRedirect({ statusCode = 0, headers }: IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(statusCode) && headers.location !== undefined;
}

/**
 * A user agent: cookies, redirects, self-submitting forms and fetch metadata as browsers send them. Over node:http,
 * because `fetch` does not let a test say `Sec-Fetch-Mode: navigate`. Every host:port counts as a site of its own.
 */
export class Browser {
  readonly cookies: CookieJar;
  readonly #options: BrowserOptions;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(options: BrowserOptions = {}) {
    this.#options = options;
    this.cookies = options.jar ?? new CookieJar();
  }

  /** A second browser with a copy of the cookies: another tab that does not see later changes. */
  clone(): Browser {
    return new Browser({ ...this.#options, jar: this.cookies.clone() });
  }

  /** Exactly one request: this browser's cookies, no other header than given, no redirect followed. */
  async request(url: string | URL, init: RequestInit = {}): Promise<Answer> {
    const target = new URL(url);
    const res = await this.#send(target, init, { crossSite: false, safeNavigation: true });
    return { status: res.statusCode ?? 0, headers: res.headers, text: await bodyText(res), url: target.href };
  }

  /**
   * Opens a page: follows redirects as soon as their headers are there, submits forms that submit themselves, answers
   * the provider's questions, and ends at the first document that asks for nothing.
   */
  async navigate(start: string | URL | PendingRequest, init: NavigateInit = {}): Promise<Page> {
    const given = typeof start === 'string' || start instanceof URL ? { url: String(start) } : start;
    let next: PendingRequest = { ...given, ...init };
    const hops: Hop[] = [];
    while (hops.length < MAX_HOPS) {
      const url = new URL(next.url);
      const method = next.method ?? 'GET';
      if (init.stopAt?.(url, method)) {
        return { status: 0, headers: {}, text: '', url: url.href, hops, held: next };
      }
      const res = await this.#open(url, next);
      const { location } = res.headers;
      hops.push({ status: res.statusCode ?? 0, url: url.href, method, ...(location ? { location } : {}) });
      if (location !== undefined && isRedirect(res)) {
        res.resume();
        next = this.#redirected(next, new URL(location, url), res.statusCode ?? 0);
        continue;
      }
      const text = await bodyText(res);
      const submitted = this.#automaticSubmit(text, url);
      if (!submitted) return { status: res.statusCode ?? 0, headers: res.headers, text, url: url.href, hops };
      next = submitted;
    }
    throw new Error(
      `more than ${MAX_HOPS} hops:\n${hops.map(({ status, url }) => `${status} ${url}`).join('\n')}`,
    );
  }

  /** Presses a button of the page's first form. */
  submit(page: Page, button: Record<string, string> = {}, init: NavigateInit = {}): Promise<Page> {
    const form = findForm(page.text, new URL(page.url));
    if (!form) throw new Error(`no form at ${page.url}`);
    const body = { ...Object.fromEntries(form.fields), ...button };
    return this.navigate({ url: form.action.href, method: form.method, body, from: page.url }, init);
  }

  /** What a page's script does with `fetch(url)`; a redirect is returned, not followed. */
  async fetchJson(
    url: string | URL,
    init: RequestInit & { referer?: string } = {},
  ): Promise<Answer & { json: unknown }> {
    const target = new URL(url);
    const { referer } = init;
    const headers = {
      accept: '*/*',
      'sec-fetch-mode': 'cors',
      'sec-fetch-dest': 'empty',
      'sec-fetch-site': !referer || new URL(referer).host === target.host ? 'same-origin' : 'cross-site',
      ...(referer ? { referer } : {}),
      ...init.headers,
    };
    const answer = await this.request(target, { ...init, headers });
    const isJson = /json/.test(answer.headers['content-type'] ?? '');
    return { ...answer, json: isJson ? JSON.parse(answer.text) : undefined };
  }

  /** Signs in through the app's `/login`. */
  login(app: { url: string }, returnTo = '/', init: NavigateInit = {}): Promise<Page> {
    return this.navigate(`${app.url}/login?returnTo=${encodeURIComponent(returnTo)}`, init);
  }

  /** Closes the kept-alive connections. */
  close(): void {
    this.#agent.destroy();
  }

  async #open(url: URL, init: PendingRequest): Promise<IncomingMessage> {
    const site =
      init.from === undefined ? 'none' : new URL(init.from).host === url.host ? 'same-origin' : 'cross-site';
    const method = init.method ?? 'GET';
    const account = this.#options.account;
    const headers = {
      accept: DOCUMENT,
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
      'sec-fetch-site': site,
      'upgrade-insecure-requests': '1',
      ...(init.from === undefined ? {} : { referer: `${new URL(init.from).origin}/` }),
      ...(init.from !== undefined && method === 'POST' ? { origin: new URL(init.from).origin } : {}),
      ...(account ? { [ACCOUNT_HEADER]: account } : {}),
      ...init.headers,
    };
    const safeNavigation = method === 'GET' || method === 'HEAD';
    return this.#send(url, { ...init, headers }, { crossSite: site === 'cross-site', safeNavigation });
  }

  async #send(
    url: URL,
    init: RequestInit,
    context: { crossSite: boolean; safeNavigation: boolean },
  ): Promise<IncomingMessage> {
    const form = typeof init.body === 'object' ? new URLSearchParams(init.body).toString() : undefined;
    const body = form ?? (init.body as string | undefined);
    const cookie = this.cookies.header(url, context);
    const headers: OutgoingHttpHeaders = {
      ...(cookie ? { cookie } : {}),
      ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
      ...init.headers,
    };
    const req = request(url, { method: init.method ?? 'GET', headers, agent: this.#agent });
    req.end(body);
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    // From here on an error is the body's, and its reader sees it.
    req.on('error', () => {});
    this.cookies.store(url, res.headers['set-cookie']);
    return res;
  }

  #redirected(from: PendingRequest, to: URL, status: number): PendingRequest {
    const keepsMethod =
      status === 307 || status === 308 || from.method === undefined || from.method === 'GET';
    const { method, body, ...rest } = from;
    const next = keepsMethod ? from : rest;
    return { ...next, url: to.href };
  }

  #automaticSubmit(html: string, url: URL): PendingRequest | undefined {
    const form = findForm(html, url);
    if (!form || !(form.submitsItself || form.interaction)) return undefined;
    const answer = form.interaction ? { answer: this.#options.consent ?? 'allow' } : {};
    const body = { ...Object.fromEntries(form.fields), ...answer };
    return { url: form.action.href, method: form.method, body, from: url.href };
  }
}
