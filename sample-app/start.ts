import { randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import { listen, stopListening } from './listen.ts';
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
    const place = { port: settings.providerPort, what: 'the local provider', variable: 'PROVIDER_PORT' };
    servers.push(await listen(local, place));
  }
  const api = { port: settings.apiPort, what: 'the web API', variable: 'API_PORT' };
  servers.push(await listen(createWebApi({ issuer, rules }), api));
  webApp = createWebApp({ ...client, baseUrl, issuer, access });
  servers.push(await listen(webApp.app, { port: settings.webPort, what: 'the web app', variable: 'PORT' }));

  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
  console.log(`
  Open ${baseUrl}

  provider  ${issuer}${realProvider ? '' : '  (local: sign in as Alice or Bob, no password)'}
  web API   http://localhost:${settings.apiPort}
  Ctrl-C stops everything.
`);
}

/** First the tokens: a refresh that is under way is stored before the process goes. */
async function stop(): Promise<void> {
  await webApp?.close();
  await Promise.all(servers.splice(0).map(stopListening));
}
