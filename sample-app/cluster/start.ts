import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import express from 'express';
import { listen, stopListening } from '../listen.ts';
import { createLocalProvider } from '../provider.ts';
import { SettingsError, settingsFrom } from '../settings.ts';
import { createWebApi } from '../web-api.ts';
import { roundRobin } from './proxy.ts';
import { startRedis } from './redis.ts';
import { WebProcesses } from './web-processes.ts';

const PROCESSES = 3;

/** What to stop, the last first. */
const started: (() => Promise<void>)[] = [];

const signalled = new Promise((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, resolve);
});
try {
  await start();
  await signalled;
} catch (error) {
  console.error(error instanceof SettingsError ? `\n${error.message}\n` : error);
  process.exitCode = 1;
}
// The proxy first, then the processes while provider and Redis are there to end a refresh with, Redis last.
for (const end of started.reverse()) await end().catch((error: unknown) => console.error(error));

async function start(): Promise<void> {
  const { PORT, PROVIDER_PORT, API_PORT, ACCESS_TOKEN_SECONDS } = process.env;
  const { webPort, providerPort, apiPort, baseUrl, rules } = settingsFrom({ PORT, PROVIDER_PORT, API_PORT });
  const issuer = `http://localhost:${providerPort}`;

  const redis = await startRedis();
  started.push(redis.stop);

  const clientSecret = randomBytes(32).toString('base64url');
  const refreshes = new Map<string, number>();
  const provider = createLocalProvider({
    issuer,
    client: { clientId: 'sample-app', clientSecret, baseUrl },
    apis: Object.fromEntries(Object.values(rules).map(({ audience, scope }) => [audience, scope])),
    accessTokenSeconds: Number(ACCESS_TOKEN_SECONDS) || 10,
    onRefresh: (subject) => refreshes.set(subject, (refreshes.get(subject) ?? 0) + 1),
  });
  const counted = express()
    .disable('x-powered-by')
    .get('/refreshes/:subject', (request, response) => {
      response.json(refreshes.get(request.params.subject) ?? 0);
    })
    .use(provider);
  keep(await listen(counted, { port: providerPort, what: 'the local provider', variable: 'PROVIDER_PORT' }));
  keep(
    await listen(createWebApi({ issuer, rules }), {
      port: apiPort,
      what: 'the web API',
      variable: 'API_PORT',
    }),
  );

  // What all processes of an app must have in common.
  const processes = new WebProcesses({
    ...process.env,
    REDIS_SOCKET: redis.socket,
    OIDC_CLIENT_SECRET: clientSecret,
    OIDC_ENCRYPTION_KEYS: `this-run:${randomBytes(32).toString('base64')}`,
    SESSION_SECRET: randomBytes(32).toString('base64url'),
  });
  started.push(() => processes.stop());
  await Promise.all(Array.from({ length: PROCESSES }, () => processes.start()));
  const proxy = roundRobin(() => processes.ports());
  keep(await listen(proxy, { port: webPort, what: 'the proxy in front of the web app', variable: 'PORT' }));

  console.log(`
  Open ${baseUrl}/cluster

  web app   ${PROCESSES} processes behind a proxy, sessions and tokens in a Redis of their own
  provider  ${issuer}  (local: sign in as Alice or Bob, no password)
  web API   http://localhost:${apiPort}
  Ctrl-C stops everything.
`);
}

function keep(server: Server): void {
  started.push(() => stopListening(server));
}
