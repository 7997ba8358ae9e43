import { Readable } from 'node:stream';
import { afterEach } from '@jest/globals';
import type { AuthOptions, TokenRequestInput } from 'express-oidc-tokens';
import { expectNoSecrets } from '../support/leaks.ts';
import type { ProviderOptions } from '../support/provider.ts';
import { closing, fetchJson, type Journey, start } from './challenge-setup.ts';
import { type RecordingApi, startApi } from './recording-api.ts';

/** What a page asks the app's backend to fetch. */
export interface Call {
  url: string;
  method?: string;
  headers?: Record<string, string>;
  redirect?: 'follow' | 'error' | 'manual';
  /** How `body` is given to fetch. */
  body?: keyof typeof BODIES;
  request?: TokenRequestInput;
  /** The app answers the error itself, with this status. */
  fallback?: number;
}

export const TEXT = 'a=1&b=2'.repeat(2000);

async function* pieces(): AsyncGenerator<Uint8Array> {
  yield Buffer.from(TEXT);
}

const BODIES = {
  text: () => TEXT,
  bytes: () => new TextEncoder().encode(TEXT),
  form: () => new URLSearchParams(TEXT),
  blob: () => new Blob([TEXT]),
  stream: () => new Blob([TEXT]).stream(),
  readable: () => Readable.from([Buffer.from(TEXT)]) as unknown as NonNullable<RequestInit['body']>,
  generator: () => pieces() as unknown as NonNullable<RequestInit['body']>,
};

/** A signed-in user of an app that calls APIs. `call` is what a script of its page sees. */
export interface Caller extends Journey {
  api: RecordingApi;
  call(call: Call): Promise<{ status: number; json: Record<string, unknown> }>;
  /** The page that calls. */
  page(call: Call): string;
}

export interface CallerOptions {
  auth?: (api: RecordingApi) => Partial<AuthOptions>;
  provider?: ProviderOptions;
}

const callers: Caller[] = [];

/** Whatever happened: the app has logged nothing that holds a token. */
afterEach(() => {
  for (const { app, provider } of callers.splice(0)) expectNoSecrets(app.logText(), provider);
});

export async function startCaller({ auth, provider }: CallerOptions = {}): Promise<Caller> {
  const api = closing(await startApi());
  const usual = {
    scopes: 'openid offline_access a b',
    resources: { mail: { url: `${api.url}/mail`, scopes: 'a' } },
  };
  const journey = await start({
    ...(provider === undefined ? {} : { provider }),
    app: {
      auth: { ...usual, ...auth?.(api) },
      routes: (app) => {
        app.get('/call', async (req, res) => {
          const { url, request, fallback, body, ...init } = JSON.parse(String(req.query.call)) as Call;
          const content = body === undefined ? {} : { body: BODIES[body](), duplex: 'half' };
          try {
            const answer = await req.fetchWithToken(url, { ...init, ...content } as RequestInit, request);
            res.json({ api: answer.status, text: await answer.text() });
          } catch (error) {
            if (fallback === undefined && (error as { status?: number }).status !== undefined) throw error;
            const { name, message } = error as Error;
            res.status(fallback ?? 500).json({ name, message });
          }
        });
      },
    },
  });
  const { app } = journey;
  const page = (call: Call) => `/call?call=${encodeURIComponent(JSON.stringify(call))}`;
  journey.provider.clearCalls();
  const caller: Caller = {
    ...journey,
    api,
    page: (call) => app.url + page(call),
    call: (call) => fetchJson(journey, page(call)),
  };
  callers.push(caller);
  return caller;
}
