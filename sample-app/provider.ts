import { generateKeyPairSync, randomBytes } from 'node:crypto';
import express, { type Express } from 'express';
import { errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { Html, pageHeaders, sendPage, styleSheet } from './html.ts';
import { memoryAdapter } from './memory-adapter.ts';
import { consentPage, loginPage, problemPage, signedOutPage, signOutPage } from './provider-pages.ts';

export interface LocalProviderOptions {
  issuer: string;
  client: { clientId: string; clientSecret: string; baseUrl: string };
  /** The scopes of each API, under its resource indicator. */
  apis: Record<string, string>;
  accessTokenSeconds: number;
  /** Called for each refresh token that comes, good or not, with the one it was given to. */
  onRefresh?: (subject: string) => void;
}

export interface Person {
  sub: string;
  name: string;
  email: string;
}

const people: Person[] = [
  { sub: 'alice', name: 'Alice Archer', email: 'alice@example.com' },
  { sub: 'bob', name: 'Bob Baker', email: 'bob@example.com' },
];

const submitScript = "document.querySelector('button[value=yes]').click();\n";

/**
 * A provider for this machine only: it asks for no password, and everything it knows, its keys too, is made at start
 * and gone at the end. Its token endpoint is as strict as they come: a refresh token works once, and one that comes
 * a second time takes the whole grant with it (RFC 9700 §4.14.2).
 */
export function createLocalProvider(options: LocalProviderOptions): Express {
  const provider = new Provider(options.issuer, {
    adapter: memoryAdapter(),
    clients: [
      {
        client_id: options.client.clientId,
        client_secret: options.client.clientSecret,
        client_name: 'the sample app',
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: [`${options.client.baseUrl}/callback`],
        post_logout_redirect_uris: [options.client.baseUrl, `${options.client.baseUrl}/`],
      },
    ],
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
    conformIdTokenClaims: false, // the name comes in the ID token, without a call to the userinfo endpoint
    findAccount: (_ctx, sub) => {
      const person = people.find((one) => one.sub === sub);
      return person && { accountId: sub, claims: () => ({ ...person }) };
    },
    rotateRefreshToken: true,
    // oidc-provider drops offline_access unless the request has prompt=consent; here asking for it is enough.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    ttl: {
      AccessToken: options.accessTokenSeconds,
      AuthorizationCode: 60,
      IdToken: 3600,
      Interaction: 3600,
      RefreshToken: 14 * 86_400,
      Grant: 14 * 86_400,
      Session: 14 * 86_400,
    },
    features: {
      devInteractions: { enabled: false },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf ?? [],
        getResourceServerInfo: (_ctx, resource) => {
          const scope = Object.hasOwn(options.apis, resource) ? options.apis[resource] : undefined;
          if (scope === undefined) throw new errors.InvalidTarget();
          return {
            scope,
            audience: resource,
            accessTokenFormat: 'jwt',
            accessTokenTTL: options.accessTokenSeconds,
            jwt: { sign: { alg: 'RS256' } },
          };
        },
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => answer(ctx, signOutPage(new Html(form), cameFromTheApp(ctx))),
        postLogoutSuccessSource: (ctx) => answer(ctx, signedOutPage(options.client.baseUrl)),
      },
    },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: (ctx, out) =>
      answer(ctx, problemPage(out.error_description ?? out.error, options.client.baseUrl)),
  });
  const countRefresh = ({ oidc }: KoaContextWithOIDC) => {
    if (oidc.params?.grant_type === 'refresh_token') options.onRefresh?.(oidc.account?.accountId ?? '');
  };
  provider.on('grant.success', countRefresh);
  provider.on('grant.error', countRefresh);
  provider.on('server_error', (_ctx, error) => console.error('provider:', error));

  const app = express().disable('x-powered-by');
  app.get('/style.css', (_request, response) => response.type('css').send(styleSheet));
  app.get('/submit.js', (_request, response) => response.type('js').send(submitScript));
  addInteractions(app, provider, options.client.baseUrl);
  app.use(provider.callback());
  return app;
}

/** The two questions a provider asks: who are you, and is it all right? */
function addInteractions(app: Express, provider: Provider, baseUrl: string): void {
  app.get('/interaction/:uid', async (request, response) => {
    const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
    if (prompt.name === 'login') {
      return sendPage(response, 200, loginPage(request.path, people, params.login_hint));
    }
    const grant = grantId ? await provider.Grant.find(grantId) : undefined;
    const earlier = Object.values(grant?.resources ?? {}).flatMap((scope) => scope.split(' '));
    const missing = missingScopes(prompt.details).flatMap(([, scopes]) => scopes);
    const asked = missing.length > 0 ? missing : String(params.scope).split(' '); // prompt=consent asks again
    const person = people.find((one) => one.sub === session?.accountId);
    sendPage(response, 200, consentPage(request.path, person, asked, earlier));
  });

  app.post('/interaction/:uid/login', express.urlencoded({ extended: false }), async (request, response) => {
    const person = people.find((one) => one.sub === request.body?.user);
    if (!person)
      return response.redirect(303, `/interaction/${encodeURIComponent(request.params.uid as string)}`);
    await provider.interactionFinished(request, response, { login: { accountId: person.sub } });
  });

  app.post('/interaction/:uid/allow', async (request, response) => {
    const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
    // The grant of this sign-in grows: what was allowed before stays allowed.
    const grant =
      (grantId && (await provider.Grant.find(grantId))) ||
      new provider.Grant({ accountId: session?.accountId as string, clientId: params.client_id as string });
    for (const [resource, scopes] of missingScopes(prompt.details)) {
      if (resource) grant.addResourceScope(resource, scopes.join(' '));
      else grant.addOIDCScope(scopes.join(' '));
    }
    await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
  });

  app.post('/interaction/:uid/deny', async (request, response) => {
    const refusal = { error: 'access_denied', error_description: 'You did not allow it.' };
    await provider.interactionFinished(request, response, refusal);
  });

  app.use('/interaction', ((error, _request, response, next) => {
    if (response.headersSent) return next(error);
    if (!(error instanceof errors.SessionNotFound)) console.error('provider:', error);
    sendPage(
      response,
      400,
      problemPage('This page is no longer valid: it was open too long, or sent twice.', baseUrl),
    );
  }) satisfies express.ErrorRequestHandler);
}

/** What the consent page has to ask about, as pairs of resource and scopes; no resource for the OpenID scopes. */
function missingScopes(details: Record<string, unknown>): [resource: string | undefined, scopes: string[]][] {
  const { missingOIDCScope, missingResourceScopes } = details as {
    missingOIDCScope?: string[];
    missingResourceScopes?: Record<string, string[]>;
  };
  return [
    ...(missingOIDCScope ? [[undefined, missingOIDCScope] as [undefined, string[]]] : []),
    ...Object.entries(missingResourceScopes ?? {}),
  ];
}

/** The app has asked its user already, and its id_token_hint says who that is: no second question then. */
function cameFromTheApp({ oidc }: KoaContextWithOIDC): boolean {
  const hinted = oidc.entities.IdTokenHint?.payload.sub;
  return hinted !== undefined && hinted === oidc.session?.accountId;
}

function answer(ctx: KoaContextWithOIDC, page: string): void {
  ctx.set(pageHeaders);
  ctx.body = page;
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    ...privateKey.export({ format: 'jwk' }),
    kid: randomBytes(8).toString('hex'),
    use: 'sig',
    alg: 'RS256',
  };
}
