import { afterAll, afterEach, beforeAll } from '@jest/globals';
import type { NextFunction, Request, Response } from 'express';
import { type AuthOptions, requiresBearer } from 'express-oidc-tokens';
import { type AppOptions, startApp, type TestApp } from '../support/app.ts';
import { R1, type SignOptions, startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime } from '../support/time.ts';

/** Who the API of these tests is. */
export const API = R1;

export interface Answer {
  status: number;
  headers: Headers;
  challenge: string | null;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads what it expects
  json: any;
}

/** Calls an API; `token` may also be the whole header. */
export async function call(url: string, token?: string, init: RequestInit = {}): Promise<Answer> {
  const headers = new Headers(init.headers);
  if (token !== undefined) headers.set('authorization', token.includes(' ') ? token : `Bearer ${token}`);
  const answer = await fetch(url, { ...init, headers });
  const text = await answer.text();
  const isJson = answer.headers.get('content-type')?.includes('json') === true;
  return {
    status: answer.status,
    headers: answer.headers,
    challenge: answer.headers.get('www-authenticate'),
    text,
    json: isJson ? JSON.parse(text) : undefined,
  };
}

/** One provider for a file, and the APIs that its tests start on it. */
export class ApiStage {
  readonly #open: { close(): unknown }[] = [];
  #provider: TestProvider | undefined;

  constructor() {
    beforeAll(async () => {
      this.#provider = await startProvider({ accessTokenTtl: 3600 });
    });
    afterEach(async () => {
      this.provider.scriptAlways(undefined);
      this.provider.down = {};
      for (const opened of this.#open.splice(0).reverse()) await opened.close();
      this.provider.clearCalls();
      restoreTime();
    });
    afterAll(() => this.#provider?.close());
  }

  get provider(): TestProvider {
    if (!this.#provider) throw new Error('only inside a test');
    return this.#provider;
  }

  opened<T extends { close(): unknown }>(what: T): T {
    this.#open.push(what);
    return what;
  }

  /** A web API without sessions: `/me` demands a token for it, the other routes are the test's. */
  async api(
    routes?: AppOptions['routes'],
    auth: Partial<AuthOptions> = {},
    express: 4 | 5 = 5,
  ): Promise<TestApp> {
    const { issuer, api: client } = this.provider;
    const started = await startApp({
      provider: { issuer, client },
      session: false,
      express,
      auth: { session: false, ...auth },
      routes: (app, handle) => {
        app.get('/me', requiresBearer({ audience: API }), (req, res) => {
          const { token: _, ...bearer } = req.bearer as NonNullable<Request['bearer']>;
          res.json(bearer);
        });
        routes?.(app, handle);
      },
    });
    return this.opened(started);
  }

  /** A JWT access token for this API, right unless the claims or options say otherwise. */
  token(claims: Record<string, unknown> = {}, options: SignOptions = {}): Promise<string> {
    const header = { typ: 'at+jwt', ...options.header };
    return this.provider.signIdToken({ aud: API, scope: 'read', ...claims }, { ...options, header });
  }
}

/** Answers with the error's fields, as an app's own error handler might. */
export function jsonErrors(
  error: Error & { status?: number; headers?: Record<string, string> },
  _req: Request,
  res: Response,
  _next: NextFunction,
): void {
  const { name, message, status = 500, headers = {} } = error;
  res.status(status).set(headers).json({ name, message });
}
