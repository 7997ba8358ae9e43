import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect } from 'node:net';
import { createLocalProvider } from './provider.ts';
import { type Settings, SettingsError, settingsFrom } from './settings.ts';
import { createWebApi } from './web-api.ts';
import { createWebApp, type WebApp } from './web-app.ts';

const servers: Server[] = [];
let webApp: WebApp | undefined;

try {
  await start(settingsFrom(process.env));
} catch (error) {
  console.error(error instanceof SettingsError ? `\n${error.message}\n` : error);
  process.exitCode = 1;
  await stop();
}

async function start(settings: Settings): Promise<void> {
  const { baseUrl, access, rules, realProvider } = settings;
  const issuer = realProvider?.issuer ?? `http://localhost:${settings.providerPort}`;
  const client = realProvider ?? {
    clientId: 'sample-app',
    clientSecret: randomBytes(32).toString('base64url'),
  };

  if (!realProvider) {
    const local = createLocalProvider({
      issuer,
      client: { ...client, clientSecret: client.clientSecret as string, baseUrl },
      apis: Object.fromEntries(Object.values(rules).map(({ audience, scope }) => [audience, scope])),
      accessTokenSeconds: 120,
    });
    await listen(local, settings.providerPort, 'the local provider', 'PROVIDER_PORT');
  }
  await listen(createWebApi({ issuer, rules }), settings.apiPort, 'the web API', 'API_PORT');
  webApp = createWebApp({ ...client, baseUrl, issuer, access });
  await listen(webApp.app, settings.webPort, 'the web app', 'PORT');

  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
  console.log(`
  Open ${baseUrl}

  provider  ${issuer}${realProvider ? '' : '  (local: sign in as Alice or Bob, no password)'}
  web API   http://localhost:${settings.apiPort}
  Ctrl-C stops everything.
`);
}

/** On localhost only: the local provider lets anyone in, so nobody else on the network may reach it. */
async function listen(handler: RequestListener, port: number, what: string, variable: string): Promise<void> {
  const server = createServer(handler);
  try {
    if (await somethingAnswersOn(port)) throw Object.assign(new Error('taken'), { code: 'EADDRINUSE' });
    server.listen(port, 'localhost');
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error;
    throw new SettingsError(
      `Port ${port}, for ${what}, is ${code === 'EACCES' ? 'not allowed here' : 'in use'}. ` +
        `Choose another one (${variable}=${port < 1024 ? port + 3000 : port + 100} npm start) or free this one.`,
    );
  }
  servers.push(server);
}

/** "localhost" is two addresses. A program that has only the other one would not be in the way, and get our visitors. */
async function somethingAnswersOn(port: number): Promise<boolean> {
  const socket = connect({ port, host: 'localhost' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** First the tokens: a refresh that is under way is stored before the process goes. */
async function stop(): Promise<void> {
  await webApp?.close();
  await Promise.all(
    servers.splice(0).map(async (server) => {
      server.close();
      setTimeout(() => server.closeAllConnections(), 1000).unref();
      await once(server, 'close');
    }),
  );
}
