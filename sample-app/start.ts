import { listen, type Stop, stopAll, stopListening } from './listen.ts';
import { startServers } from './servers.ts';
import { type Settings, SettingsError, settingsFrom } from './settings.ts';
import { createWebApp } from './web-app/app.ts';

const started: Stop[] = [];

try {
  await start(settingsFrom(process.env));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stopAll(started));
} catch (error) {
  console.error(error instanceof SettingsError ? `\n${error.message}\n` : error);
  process.exitCode = 1;
  await stopAll(started);
}

async function start(settings: Settings): Promise<void> {
  const { baseUrl, access, stepUpAcr, realProvider } = settings;
  const { issuer, client } = await startServers(settings, started, 120);

  const webApp = createWebApp({
    ...client,
    issuer,
    baseUrl,
    access,
    stepUpAcr,
    grantsUrl: realProvider ? undefined : `${issuer}/grants`,
    nightlyEverySeconds: 60, // a short night
  });
  // Last in, first out: requests get their answers, then refreshes under way are stored, then the servers behind go.
  started.push(webApp.close);
  const server = await listen(webApp.app, { port: settings.webPort, what: 'the web app', variable: 'PORT' });
  started.push(() => stopListening(server));

  console.log(`
  Open ${baseUrl}

  provider  ${issuer}${realProvider ? '' : '  (local: sign in as Alice or Bob, no password)'}
  web APIs  http://localhost:${settings.apiPort} and http://localhost:${settings.directoryPort}
  Ctrl-C stops everything.
`);
}
