import { subscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import connectPgSimple from 'connect-pg-simple';
import { RedisStore } from 'connect-redis';
import express, { type Request } from 'express';
import { type AuthOptions, auth } from 'express-oidc-tokens';
import session, { type Store } from 'express-session';
import { Pool } from 'pg';
import { createClient, type RedisClientOptions } from 'redis';
import fileStore from 'session-file-store';
import { latencyStore } from './stores.ts';
import { travel } from './time.ts';

/** Where the sessions of a fleet are. */
export type FleetStore =
  | { kind: 'redis'; url: string; timeoutMs: number }
  /** Any store that processes can share: files, as if they were a network away. */
  | { kind: 'files'; path: string; latencyMs: number }
  | { kind: 'postgres'; url: string; schemaName: string };

export interface FleetAppConfig {
  index: number;
  store: FleetStore;
  auth: AuthOptions;
}

/** What a process of the fleet is told. */
export type ToProcess =
  | { type: 'listen'; port: number }
  | { type: 'start'; config: FleetAppConfig }
  | { type: 'travel'; seconds: number }
  | { type: 'open'; gate: string };

/** What it tells. */
export type FromProcess =
  | { type: 'booted' }
  | { type: 'listening'; port: number }
  | { type: 'started' }
  | { type: 'travelled' }
  | { type: 'closing' }
  /** A handler waits at a gate for `open`. */
  | { type: 'at'; gate: string }
  /** Something was published on a diagnostics channel of the package. */
  | { type: 'event'; name: string; details: unknown };

const EVENTS = [
  'refresh.start',
  'refresh.ok',
  'refresh.rejected',
  'refresh.response_lost',
  'lease.wait',
  'lease.takeover',
  'commit.refused',
  'commit.retried',
  'cache.older_version',
  'store.timeout',
];

declare module 'express-session' {
  interface SessionData {
    note: string;
  }
}

// Idle connections stay: after a process was stopped for a while, clients would meet those it closes on waking.
const server = createServer({ keepAliveTimeout: 120_000 });
const gates = new Map<string, () => void>();

function tell(message: FromProcess): void {
  if (process.connected) process.send?.(message);
}

function gate(name: string): Promise<void> {
  return new Promise((resolve) => {
    gates.set(name, resolve);
    tell({ type: 'at', gate: name });
  });
}

/**
 * A Redis that hangs must not hang the app. `socketTimeout` alone would end the client for good half a second after
 * its last command: pings keep an idle connection, and the strategy lets it connect again after a timeout.
 */
function redisOptions({ url, timeoutMs }: FleetStore & { kind: 'redis' }): RedisClientOptions {
  return {
    url,
    pingInterval: 200,
    commandOptions: { timeout: timeoutMs },
    socket: { socketTimeout: timeoutMs, reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 1000) },
  };
}

type OpenStore = { store: Store; close(): unknown };

/** It gives up on a server that hangs, but after the package; and it looks for what has expired all the time. */
function openPostgresStore({ url, schemaName }: FleetStore & { kind: 'postgres' }): OpenStore {
  const pool = new Pool({ connectionString: url, connectionTimeoutMillis: 5000, query_timeout: 5000 });
  pool.on('error', (error) => console.error('postgres:', error.message));
  const errorLog = (...messages: unknown[]) => console.error('postgres:', ...messages);
  const store = new (connectPgSimple(session))({ pool, schemaName, pruneSessionInterval: 1, errorLog });
  const close = async () => {
    await store.close();
    await pool.end();
  };
  return { store, close };
}

async function openStore(config: FleetStore): Promise<OpenStore> {
  if (config.kind === 'postgres') return openPostgresStore(config);
  if (config.kind === 'redis') {
    const client = createClient(redisOptions(config));
    client.on('error', (error: Error) => console.error('redis:', error.message));
    await client.connect();
    return { store: new RedisStore({ client }), close: () => client.destroy() };
  }
  const FileStore = fileStore(session);
  const files: Store = new FileStore({ path: config.path, retries: 0, reapInterval: -1, logFn: () => {} });
  const { touch } = files;
  // It reports a session that is gone as an error, on which Express cuts the connection after the answer.
  files.touch = (id, data, done) => touch?.call(files, id, data, () => done?.());
  return { store: latencyStore(0, config.latencyMs, process.pid, files), close: () => undefined };
}

function tokenRequest({ query }: Request): { scopes?: string; forceRefresh?: boolean } {
  return {
    ...(typeof query.scope === 'string' ? { scopes: query.scope } : {}),
    ...(query.force === undefined ? {} : { forceRefresh: true }),
  };
}

async function start({ index, store: storeConfig, auth: options }: FleetAppConfig): Promise<void> {
  const { store, close } = await openStore(storeConfig);
  const app = express();
  app.use(session({ secret: 'fleet', resave: false, saveUninitialized: false, store }));
  const handle = auth({
    ...options,
    // So that the provider's records tell which process asked.
    fetch: (url, init) => {
      const headers = new Headers(init.headers);
      headers.set('x-process', String(index));
      return fetch(url, { ...init, headers });
    },
  });
  app.use(handle);
  app.get('/', (req, res) => {
    res.json({ subject: req.oidc.account?.subject ?? null, note: req.session.note ?? null });
  });
  app.get('/token', async (req, res) => {
    const token = await req.getToken(tokenRequest(req));
    if (typeof req.query.note === 'string') req.session.note = req.query.note;
    res.json(token);
  });
  /** Loads the session, waits, and goes on with what it has loaded. */
  app.get('/slow/:gate', async (req, res) => {
    const before = req.query.before === undefined ? undefined : await req.getToken();
    await gate(req.params.gate);
    const after = req.query.after === undefined ? undefined : await req.getToken();
    if (typeof req.query.note === 'string') req.session.note = req.query.note;
    res.json({ before, after });
  });
  server.on('request', app);
  process.once('SIGTERM', async () => {
    tell({ type: 'closing' });
    await handle.close();
    server.close();
    // Connections whose answer leaves only now would wait for another request.
    const closing = setInterval(() => server.closeIdleConnections(), 20);
    await once(server, 'close');
    clearInterval(closing);
    close();
    // Nothing else may keep the process: it ends by itself.
  });
}

async function obey(message: ToProcess): Promise<void> {
  switch (message.type) {
    case 'listen':
      server.listen(message.port, '127.0.0.1');
      await once(server, 'listening');
      return tell({ type: 'listening', port: (server.address() as AddressInfo).port });
    case 'start':
      await start(message.config);
      return tell({ type: 'started' });
    case 'travel':
      travel(message.seconds);
      return tell({ type: 'travelled' });
    case 'open':
      gates.get(message.gate)?.();
      gates.delete(message.gate);
  }
}

for (const name of EVENTS) {
  subscribe(`express-oidc-tokens:${name}`, (details) => tell({ type: 'event', name, details }));
}
process.on('message', (message: ToProcess) => void obey(message));
process.on('disconnect', () => process.exit(1));
process.channel?.unref();
// Until it listens, something has to keep the process.
const waiting = setTimeout(() => process.exit(1), 60_000);
server.once('listening', () => clearTimeout(waiting));
tell({ type: 'booted' });
