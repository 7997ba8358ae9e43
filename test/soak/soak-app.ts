/** One process of the app under the soak: forked as a bundle, told what it is to be in the environment. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { RedisStore } from 'connect-redis';
import express, { type Request } from 'express';
import { type AuthOptions, auth, type OidcTokensError } from 'express-oidc-tokens';
import session from 'express-session';
import { createClient } from 'redis';

export interface SoakAppConfig {
  redisUrl: string;
  /** Sent to the provider with every call, so that it can be told who asked. */
  life: string;
  sessionMs: number;
  auth: AuthOptions;
}

declare module 'express-session' {
  interface SessionData {
    mark: string;
  }
}

const { redisUrl, life, sessionMs, auth: options }: SoakAppConfig = JSON.parse(process.env.SOAK_APP ?? '');

const client = createClient({
  url: redisUrl,
  pingInterval: 200,
  socket: { socketTimeout: 500, reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 500) },
});
client.on('error', (error: Error) => console.error('redis:', error.message));
const connected = client.connect();

const app = express();
const sessions = session({
  secret: 'soak',
  resave: false,
  saveUninitialized: false,
  rolling: true,
  cookie: { maxAge: sessionMs },
  store: new RedisStore({ client }),
});
app.use((req, res, next) => {
  // A Redis that does not answer express-session in time is no fault of the package.
  sessions(req, res, (error) => (error ? res.sendStatus(503) : next()));
});
const handle = auth({
  ...options,
  fetch: (url, init) => {
    const headers = new Headers(init.headers);
    headers.set('x-process', life);
    return fetch(url, { ...init, headers });
  },
});
app.use(handle);

function wanted({ query }: Request): { scopes?: string; resource?: string; acrValues?: string } {
  const named = Object.entries(query).filter(([name, value]) => name !== 'mark' && typeof value === 'string');
  return Object.fromEntries(named);
}

app.get('/', (req, res) => void res.json({ subject: req.oidc.account?.subject ?? null }));

/** A token without the user, or why not. */
app.get('/silent', async (req, res) => {
  try {
    res.json(await req.getTokenSilent(wanted(req)));
  } catch (error) {
    const { status = 500, code, reason, message } = error as OidcTokensError & { reason?: string };
    res.status(status).json({ code, reason, message });
  }
});

/** A token, with the user's help where it takes that. */
app.get('/token', async (req, res) => {
  res.json(await req.getToken(wanted(req)));
});

/** Saves a session that it loaded a while ago. */
app.get('/mark/:mark', async (req, res) => {
  await delay(50);
  req.session.mark = req.params.mark;
  res.json({ subject: req.oidc.account?.subject ?? null });
});

/** The app's own new session id: whoever was signed in is not any more. */
app.post('/regenerate', (req, res, next) => {
  req.session.regenerate((error: unknown) => {
    if (error) return next(error);
    req.session.mark = 'regenerated';
    res.json({ subject: req.oidc.account?.subject ?? null });
  });
});

app.get('/memory', (_req, res) => {
  globalThis.gc?.();
  res.json(process.memoryUsage().heapUsed);
});

const server = createServer(app);

async function start(): Promise<void> {
  await connected;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.send?.((server.address() as AddressInfo).port);
}

process.once('SIGTERM', async () => {
  // Those that are there get their answers.
  server.close();
  const closing = setInterval(() => server.closeIdleConnections(), 20);
  await once(server, 'close');
  clearInterval(closing);
  await handle.close();
  client.destroy();
  process.disconnect();
  // Nothing of the package may keep the process: it ends by itself.
});
process.on('disconnect', () => server.listening && process.exit(1));
void start();
