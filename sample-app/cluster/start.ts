import { randomBytes } from 'node:crypto';
import { listen, type Stop, stopAll, stopListening } from '../listen.ts';
import { startServers } from '../servers.ts';
import { SettingsError, settingsFrom } from '../settings.ts';
import { roundRobin } from './proxy.ts';
import { startRedis } from './redis.ts';
import { WebProcesses } from './web-processes.ts';

const PROCESSES = 3;

const started: Stop[] = [];

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
await stopAll(started);

async function start(): Promise<void> {
  const { PORT, PROVIDER_PORT, API_PORT, DIRECTORY_PORT, ACCESS_TOKEN_SECONDS } = process.env;
  const settings = settingsFrom({ PORT, PROVIDER_PORT, API_PORT, DIRECTORY_PORT });
  const { webPort, providerPort, apiPort, directoryPort, baseUrl } = settings;

  const redis = await startRedis();
  started.push(redis.stop);

  const { client } = await startServers(settings, started, Number(ACCESS_TOKEN_SECONDS) || 10);

  // What all processes of an app must have in common.
  const processes = new WebProcesses({
    ...process.env,
    REDIS_SOCKET: redis.socket,
    OIDC_CLIENT_SECRET: client.clientSecret,
    OIDC_ENCRYPTION_KEYS: `this-run:${randomBytes(32).toString('base64')}`,
    SESSION_SECRET: randomBytes(32).toString('base64url'),
  });
  started.push(() => processes.stop());
  await Promise.all(Array.from({ length: PROCESSES }, () => processes.start()));
  const proxy = roundRobin(() => processes.ports());
  const place = { port: webPort, what: 'the proxy in front of the web app', variable: 'PORT' };
  const server = await listen(proxy, place);
  started.push(() => stopListening(server));

  console.log(`
  Open ${baseUrl}/cluster

  web app   ${PROCESSES} processes behind a proxy, sessions and tokens in a Redis of their own
  provider  http://localhost:${providerPort}  (local: sign in as Alice or Bob, no password)
  web APIs  http://localhost:${apiPort} and http://localhost:${directoryPort}
  Ctrl-C stops everything.
`);
}
