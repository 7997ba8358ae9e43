/** One API as its caller sees it: what to ask the provider for, and where to take the token. */
export interface ApiAccess {
  url: string;
  scopes: string;
  /** Sent as `resource` (RFC 8707). */
  resource?: string;
  /** Sent as `audience`, for providers that predate RFC 8707. */
  audience?: string;
}

/** The same API as its own process sees it: what a token has to carry. */
export interface ApiRule {
  audience: string;
  scope: string;
  /** Claims with exactly these values. */
  claims?: Record<string, string>;
}

/** Every API of the sample, with its scope at the local provider. */
const localScopes = {
  mail: 'mail.read',
  calendar: 'calendar.read',
  contacts: 'contacts.read',
  payments: 'payments.read',
  /** For the nightly job: no user can get a token for it. */
  statistics: 'statistics.read',
  /** The second web API: only the first one calls it. */
  directory: 'directory.read',
};

export type ApiName = keyof typeof localScopes;

/** A client as it is registered at the provider. */
export interface Client {
  clientId: string;
  clientSecret?: string;
}

export interface Settings {
  webPort: number;
  providerPort: number;
  apiPort: number;
  directoryPort: number;
  baseUrl: string;
  /** Absent: the local provider is started. */
  realProvider?: { issuer: string; app: Client; api: Client };
  access: Partial<Record<ApiName, ApiAccess>>;
  rules: Partial<Record<ApiName, ApiRule>>;
  /** The authentication context class of a sign-in with a second factor. */
  stepUpAcr?: string;
}

export const LOCAL_APP = 'sample-app';
export const LOCAL_API = 'sample-api';
export const SECOND_FACTOR = 'second-factor';

export class SettingsError extends Error {}

export function settingsFrom(env: NodeJS.ProcessEnv): Settings {
  const webPort = portFrom(env, 'PORT', 3000);
  const settings: Settings = {
    webPort,
    providerPort: portFrom(env, 'PROVIDER_PORT', 3001),
    apiPort: portFrom(env, 'API_PORT', 3002),
    directoryPort: portFrom(env, 'DIRECTORY_PORT', 3003),
    baseUrl: env.OIDC_BASE_URL || `http://localhost:${webPort}`,
    access: {},
    rules: {},
    ...optional('stepUpAcr', env.OIDC_ISSUER ? env.STEP_UP_ACR : SECOND_FACTOR),
  };
  if (env.OIDC_ISSUER) {
    settings.realProvider = {
      issuer: env.OIDC_ISSUER,
      app: {
        clientId: needed(env, 'OIDC_CLIENT_ID'),
        ...optional('clientSecret', env.OIDC_CLIENT_SECRET),
      },
      api: {
        clientId: env.API_CLIENT_ID || LOCAL_API,
        ...optional('clientSecret', env.API_CLIENT_SECRET),
      },
    };
  }
  for (const name of Object.keys(localScopes) as ApiName[]) addApi(settings, name, env);
  return settings;
}

function addApi(settings: Settings, name: ApiName, env: NodeJS.ProcessEnv): void {
  const port = name === 'directory' ? settings.directoryPort : settings.apiPort;
  const ourUrl = `http://localhost:${port}/${name}`;
  if (!settings.realProvider) {
    const scope = localScopes[name];
    settings.access[name] = { url: ourUrl, scopes: scope, resource: ourUrl };
    settings.rules[name] = { audience: ourUrl, scope };
    // RFC 9068 §2.2: in a token that belongs to no user, the subject is the app itself.
    if (name === 'statistics') settings.rules[name].claims = { sub: LOCAL_APP };
    return;
  }
  // A real provider refuses scopes that it does not know, so a page asks for a token only once it is told which.
  const prefix = name.toUpperCase();
  const scopes = env[`${prefix}_SCOPES`];
  if (!scopes) return;
  const resource = env[`${prefix}_RESOURCE`];
  const audience = env[`${prefix}_AUDIENCE`];
  settings.access[name] = {
    url: env[`${prefix}_URL`] || ourUrl,
    scopes,
    ...optional('resource', resource),
    ...optional('audience', audience),
  };
  const expected = env[`${prefix}_EXPECTED_AUDIENCE`] || resource || audience;
  if (expected)
    settings.rules[name] = { audience: expected, scope: env[`${prefix}_EXPECTED_SCOPE`] || scopes };
}

function portFrom(env: NodeJS.ProcessEnv, name: string, fallback: number): number {
  const text = env[name];
  if (!text) return fallback;
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65536) return port;
  throw new SettingsError(
    `${name} is "${text}". Set it to a port number between 1 and 65535, or leave it out.`,
  );
}

function needed(env: NodeJS.ProcessEnv, name: string): string {
  const value = env[name];
  if (value) return value;
  throw new SettingsError(
    `OIDC_ISSUER is set and ${name} is not. Set ${name} as your provider shows it for this application, ` +
      'or unset OIDC_ISSUER to use the local provider.',
  );
}

function optional<Name extends string>(name: Name, value: string | undefined): { [Key in Name]?: string } {
  return value ? ({ [name]: value } as { [Key in Name]?: string }) : {};
}
