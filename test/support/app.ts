import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express5, { type Express, type Request, type RequestHandler, type Response } from 'express';
import { type AuthOptions, auth } from 'express-oidc-tokens';
import session, { MemoryStore, type SessionOptions, type Store } from 'express-session';
import express4 from 'express4';

/** One call of the `logger` option. */
export interface LogLine {
  level: 'debug' | 'info' | 'warn' | 'error';
  message: string;
  details: unknown;
}

export type Handle = ReturnType<typeof auth>;

export interface AppOptions {
  /** The issuer and the client of `auth()`; not needed where `auth` names them. */
  provider?: { issuer: string; client: { clientId: string; clientSecret: string } };
  auth?: Partial<AuthOptions>;
  /** `false`: no express-session at all, for a web API. */
  session?: Partial<SessionOptions> | false;
  store?: Store;
  /** Mounted before express-session and `auth()`. */
  before?: (app: Express) => void;
  /** Mounted after the default routes. */
  routes?: (app: Express, handle: Handle) => void;
  /** Default 5. */
  express?: 4 | 5;
  /** Set while `auth()` reads its options, then put back; `undefined` removes a variable. */
  env?: Record<string, string | undefined>;
  /** Default: any free port. */
  port?: number;
}

/** A running app; `server` also works with supertest. */
export interface TestApp {
  url: string;
  server: Server;
  express: Express;
  handle: Handle;
  store: Store;
  logs: LogLine[];
  /** All log lines as one text, details included. */
  logText(): string;
  close(): Promise<void>;
}

type TokenParameters = { scopes?: string; resource?: string; forceRefresh?: boolean };

function withEnv<T>(env: Record<string, string | undefined>, run: () => T): T {
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const);
  const apply = (entries: Iterable<readonly [string, string | undefined]>) => {
    for (const [name, value] of entries) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  apply(Object.entries(env));
  try {
    return run();
  } finally {
    apply(before);
  }
}

function recorder(logs: LogLine[]): NonNullable<AuthOptions['logger']> {
  const at = (level: LogLine['level']) => (message: string, details?: object) => {
    logs.push({ level, message, details });
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

function tokenRequest({ query }: Request): TokenParameters {
  const request: TokenParameters = {};
  if (typeof query.scope === 'string') request.scopes = query.scope;
  if (typeof query.resource === 'string') request.resource = query.resource;
  if (query.force !== undefined) request.forceRefresh = true;
  return request;
}

function errorJson(error: unknown): Record<string, unknown> {
  const { name, message, code, status, reason, scopes } = error as Record<string, unknown>;
  return { name, message, code, status, reason, scopes };
}

/**
 * `/` tells who is signed in, `/user` the claims, `/token?scope=&resource=&force` acquires a token, `/silent` does so
 * without a challenge and answers an error as JSON with status 200. `next` is passed on for Express 4.
 */
function defaultRoutes(app: Express): void {
  const silent = async (req: Request, res: Response): Promise<void> => {
    try {
      res.json(await req.getTokenSilent(tokenRequest(req)));
    } catch (error) {
      res.json(errorJson(error));
    }
  };
  const token: RequestHandler = (req, res, next) => {
    req.getToken(tokenRequest(req)).then((answer) => res.json(answer), next);
  };
  app.get('/', (req, res) => {
    res.send(req.oidc.isAuthenticated() ? `signed in as ${req.oidc.account?.subject}` : 'anonymous');
  });
  app.get('/user', (req, res) => void res.json(req.oidc.user ?? null));
  app.get('/token', token);
  app.get('/silent', (req, res, next) => void silent(req, res).catch(next));
}

/** Starts an Express app with express-session and `auth()` on 127.0.0.1; close it at the end. */
export async function startApp(options: AppOptions): Promise<TestApp> {
  const app = options.express === 4 ? (express4() as unknown as Express) : express5();
  const server = createServer(app);
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const logs: LogLine[] = [];
  const store = options.store ?? new MemoryStore();
  const { provider } = options;
  try {
    // An app that fails is no news in a test's output; Express prints errors unless the environment is `test`.
    app.set('env', 'test');
    options.before?.(app);
    if (options.session !== false) {
      app.use(
        session({ secret: 'test', resave: false, saveUninitialized: false, store, ...options.session }),
      );
    }
    const handle = withEnv(options.env ?? {}, () =>
      auth({
        baseUrl: url,
        ...(provider ? { issuer: provider.issuer, ...provider.client } : {}),
        logger: recorder(logs),
        ...options.auth,
      }),
    );
    app.use(handle);
    if (options.session !== false) defaultRoutes(app);
    options.routes?.(app, handle);
    return {
      url,
      server,
      express: app,
      handle,
      store,
      logs,
      logText: () => logs.map((line) => `${line.level} ${line.message} ${inspect(line.details)}`).join('\n'),
      close: async () => {
        await handle.close();
        await stop(server);
      },
    };
  } catch (error) {
    await stop(server);
    throw error;
  }
}

function inspect(details: unknown): string {
  return details === undefined
    ? ''
    : JSON.stringify(details, (_key, value) => (value instanceof Error ? errorText(value) : value));
}

function errorText(error: Error): string {
  const cause = error.cause instanceof Error ? ` [cause: ${errorText(error.cause)}]` : '';
  return `${error.stack ?? error.message}${cause} ${JSON.stringify(error)}`;
}

async function stop(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  server.closeAllConnections();
  await closed;
}
