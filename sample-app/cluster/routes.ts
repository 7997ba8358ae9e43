import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Express, Request } from 'express';
import { requiresAuth } from 'express-oidc-tokens';
import { sendPage } from '../html.ts';
import type { ApiAccess } from '../settings.ts';
import type { Grants } from '../web-app/grants.ts';
import { visitorOf } from '../web-app/layout.ts';
import { clusterPage, type Served, type Storm } from './pages.ts';

export interface ClusterOptions {
  /** Of this process. */
  name: string;
  /** Of the proxy in front of all of them. */
  baseUrl: string;
  issuer: string;
  /** The API whose token the pages show. */
  mail: ApiAccess;
}

const REQUESTS = 30;

/** `/cluster`, a page about who served it; `/cluster/token`, the same as JSON; `/cluster/storm`, many of those at once. */
export function addClusterPages(app: Express, { name, baseUrl, issuer, mail }: ClusterOptions): void {
  app.get(
    '/cluster',
    requiresAuth(async (request, response) => {
      const served = await serve(request);
      const refreshes = await refreshesOf(request.oidc.user.sub);
      sendPage(response, 200, clusterPage(visitorOf(request), { served, refreshes }));
    }),
  );

  app.get(
    '/cluster/token',
    requiresAuth(async (request, response) => {
      response.json(await serve(request));
    }),
  );

  app.get(
    '/cluster/storm',
    requiresAuth(async (request, response) => {
      const { sub } = request.oidc.user;
      const before = await waitForExpiry(request, sub);
      const startedAt = performance.now();
      const cookie = request.get('cookie') ?? '';
      const served = await Promise.all(Array.from({ length: REQUESTS }, () => ask(cookie)));
      const storm: Storm = {
        served,
        tookMs: performance.now() - startedAt,
        refreshes: (await refreshesOf(sub)) - before,
      };
      sendPage(
        response,
        200,
        clusterPage(visitorOf(request), {
          served: await serve(request),
          refreshes: before + storm.refreshes,
          storm,
        }),
      );
    }),
  );

  /** A token, and who got it. Of the token itself only a mark: it has no business in a page. */
  async function serve(request: Request): Promise<Served> {
    const { accessToken, source, expiresAt } = await request.getToken('mail');
    return {
      name,
      pid: process.pid,
      token: createHash('sha256').update(accessToken).digest('hex').slice(0, 8),
      source,
      expiresIn: Math.max(0, Math.round(expiresAt - Date.now() / 1000)),
    };
  }

  async function refreshesOf(subject: string): Promise<number> {
    const answer = await fetch(`${issuer}/grants/${encodeURIComponent(subject)}`);
    const { refresh_token: refreshes = 0 } = (await answer.json()) as Grants;
    return refreshes;
  }

  /** Waits for the end of a token that is as new as can be; returns how many refreshes the provider had seen by then. */
  async function waitForExpiry(request: Request, subject: string): Promise<number> {
    const { url: _url, ...api } = mail;
    const { expiresAt } = await request.getToken({ ...api, forceRefresh: true });
    await delay(Math.max(0, expiresAt * 1000 - Date.now()) + 200);
    return refreshesOf(subject);
  }

  /** One request with the visitor's cookie, over the proxy; nothing where it was not answered as it should be. */
  async function ask(cookie: string): Promise<Served | undefined> {
    const answer = await fetch(`${baseUrl}/cluster/token`, { headers: { cookie } }).catch(() => undefined);
    return answer?.ok ? ((await answer.json()) as Served) : undefined;
  }
}
