/** One of the processes of the web app. start.ts forks it and says in the environment what it has to know. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RedisStore } from 'connect-redis';
import { createClient } from 'redis';
import { stopListening } from '../listen.ts';
import { LOCAL_APP, settingsFrom } from '../settings.ts';
import { createWebApp } from '../web-app/app.ts';
import { addClusterPages } from './routes.ts';

const {
  REDIS_SOCKET = '',
  SAMPLE_PROCESS = '',
  OIDC_CLIENT_SECRET = '',
  PORT,
  PROVIDER_PORT,
  API_PORT,
  DIRECTORY_PORT,
} = process.env;
const { access, stepUpAcr, baseUrl, providerPort } = settingsFrom({
  PORT,
  PROVIDER_PORT,
  API_PORT,
  DIRECTORY_PORT,
});
const issuer = `http://localhost:${providerPort}`;

// express-session asks Redis before any middleware of ours. Without socketTimeout a request waits for a Redis that
// hangs for as long as it hangs. With it alone the client closes for good when it had nothing to do for half a second:
// the ping keeps it busy, and the strategy brings it back.
const client = createClient({
  socket: {
    path: REDIS_SOCKET,
    socketTimeout: 500,
    reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 1000),
  },
  pingInterval: 200,
  commandOptions: { timeout: 500 },
});
client.on('error', (error: Error) => console.error(`process ${SAMPLE_PROCESS}: Redis: ${error.message}`));
await client.connect();

const webApp = createWebApp({
  clientId: LOCAL_APP,
  clientSecret: OIDC_CLIENT_SECRET,
  issuer,
  baseUrl,
  access,
  stepUpAcr,
  grantsUrl: `${issuer}/grants`,
  store: new RedisStore({ client, prefix: 'sample:' }),
  addPages: (app) =>
    access.mail && addClusterPages(app, { name: SAMPLE_PROCESS, baseUrl, issuer, mail: access.mail }),
});
const server = createServer(webApp.app).listen(0, 'localhost');
await once(server, 'listening');

process.once('SIGTERM', () => void stop());
process.once('disconnect', () => void stop());
process.send?.((server.address() as AddressInfo).port);

/** Requests that are there get their answers; a refresh that nobody waits for any more is stored, too. */
async function stop(): Promise<void> {
  await stopListening(server);
  await webApp.close();
  client.destroy();
  process.exit();
}
