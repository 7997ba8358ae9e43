import { randomBytes } from 'node:crypto';
import { listen, type Stop, stopListening } from './listen.ts';
import { createLocalProvider } from './provider/provider.ts';
import { type Client, LOCAL_API, LOCAL_APP, type Settings } from './settings.ts';
import { createWebApi } from './web-api/app.ts';
import { createDirectory } from './web-api/directory.ts';

export interface Servers {
  issuer: string;
  /** Who the web app is at the provider. */
  client: Client;
}

/** Everything that the web app talks to: a provider, unless there is a real one, and the two web APIs. */
export async function startServers(
  settings: Settings,
  started: Stop[],
  accessTokenSeconds: number,
): Promise<Servers> {
  const { realProvider, providerPort, apiPort, directoryPort, access, rules, stepUpAcr } = settings;
  const issuer = realProvider?.issuer ?? `http://localhost:${providerPort}`;
  const app = realProvider?.app ?? localClient(LOCAL_APP);
  const api = realProvider?.api ?? localClient(LOCAL_API);

  if (!realProvider) {
    const { baseUrl } = settings;
    const provider = createLocalProvider({ issuer, baseUrl, app, api, rules, accessTokenSeconds });
    const place = { port: providerPort, what: 'the local provider', variable: 'PROVIDER_PORT' };
    const server = await listen(provider, place);
    started.push(() => stopListening(server));
  }

  const directory = createDirectory({ issuer, client: api, rule: rules.directory });
  started.push(directory.close);
  const second = { port: directoryPort, what: 'the second web API', variable: 'DIRECTORY_PORT' };
  const directoryServer = await listen(directory.app, second);
  started.push(() => stopListening(directoryServer));

  const webApi = createWebApi({ issuer, client: api, rules, directory: access.directory, stepUpAcr });
  started.push(webApi.close);
  const first = { port: apiPort, what: 'the web API', variable: 'API_PORT' };
  const apiServer = await listen(webApi.app, first);
  started.push(() => stopListening(apiServer));
  return { issuer, client: app };
}

function localClient(clientId: string): Client {
  return { clientId, clientSecret: randomBytes(32).toString('base64url') };
}
