import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type Request } from 'express';
import { auth } from 'express-oidc-tokens';
import session from 'express-session';
import { Browser } from '../test/support/browser.ts';
import { startProvider } from '../test/support/provider.ts';

const RESOURCE = 'https://bench.example';
const SCOPES = Array.from({ length: 50 }, (_, index) => `s${index}`);

export interface BenchApp {
  /** Fills the token cache of the signed-in user with this many access tokens. */
  fill(tokens: number): Promise<void>;
  /** Runs work inside a request of the signed-in user. */
  insideRequest<T>(work: (req: Request) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** An app with a signed-in user, and the provider beside it. */
export async function startBenchApp(): Promise<BenchApp> {
  const provider = await startProvider({ resources: { [RESOURCE]: { scopes: SCOPES.join(' ') } } });
  const app = express();
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const handle = auth({
    ...provider.client,
    issuer: provider.issuer,
    baseUrl: url,
    scopes: `openid offline_access a ${SCOPES.join(' ')}`,
    resources: { bench: { resource: RESOURCE, scopes: SCOPES } },
    logger: { debug() {}, info() {}, warn() {}, error: console.error },
  });
  let work: (req: Request) => Promise<unknown> = async () => undefined;
  app.use(session({ secret: 'bench', resave: false, saveUninitialized: false }), handle);
  app.get('/', (_req, res) => {
    res.send('ok');
  });
  app.get('/work', async (req, res) => {
    await work(req);
    res.send('done');
  });
  const browser = new Browser();
  const landed = await browser.login({ url });
  if (landed.status !== 200) throw new Error(`The login ended with ${landed.status}: ${landed.text}`);
  const insideRequest = async <T>(task: (req: Request) => Promise<T>): Promise<T> => {
    let result: T | undefined;
    work = async (req) => {
      result = await task(req);
    };
    const answer = await browser.fetchJson(`${url}/work`);
    if (answer.status !== 200) throw new Error(answer.text);
    return result as T;
  };
  return {
    insideRequest,
    fill: (tokens) =>
      insideRequest(async (req) => {
        for (const scope of SCOPES.slice(0, tokens))
          await req.getToken({ scopes: scope, resource: RESOURCE });
      }),
    async close() {
      await handle.close();
      browser.close();
      server.closeAllConnections();
      server.close();
      await provider.close();
    },
  };
}
