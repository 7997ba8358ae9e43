import { generateKeyPairSync, randomBytes } from 'node:crypto';
import express, { type Express } from 'express';
import { type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { Html, pageHeaders } from '../html.ts';
import { styleSheet } from '../style.ts';
import { countGrants } from './grant-counts.ts';
import { addInteractions } from './interactions.ts';
import { memoryAdapter } from './memory-adapter.ts';
import { problemPage, signedOutPage, signOutPage } from './pages.ts';
import { people } from './people.ts';
import { clientsOf, type LocalProviderOptions, scopeAt, signedTokens } from './registrations.ts';
import { policyWithStepUp, signInClaims } from './step-up.ts';
import { addTokenExchange, exchangeClaims } from './token-exchange.ts';

const submitScript = "document.querySelector('button[value=yes]').click();\n";

/**
 * A provider for this machine only: it asks for no password, and everything it knows, its keys too, is made at start
 * and gone at the end. Its token endpoint is as strict as they come: a refresh token works once, and one that comes
 * a second time takes the whole grant with it (RFC 9700 §4.14.2).
 */
export function createLocalProvider(options: LocalProviderOptions): Express {
  const { issuer, baseUrl, rules, accessTokenSeconds } = options;
  const key = signingKey();
  const provider = new Provider(issuer, {
    adapter: memoryAdapter(),
    clients: clientsOf(options),
    jwks: { keys: [key] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    claims: { openid: ['sub', 'acr', 'auth_time'], profile: ['name'], email: ['email'] },
    conformIdTokenClaims: false, // the name comes in the ID token, without a call to the userinfo endpoint
    extraTokenClaims: (ctx, token) => exchangeClaims(token) ?? signInClaims(ctx),
    findAccount: (_ctx, sub) => {
      const person = people.find((one) => one.sub === sub);
      return person && { accountId: sub, claims: () => ({ ...person }) };
    },
    rotateRefreshToken: true,
    // oidc-provider drops offline_access unless the request has prompt=consent; here asking for it is enough.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    expiresWithSession: () => false,
    ttl: {
      AccessToken: accessTokenSeconds,
      ClientCredentials: accessTokenSeconds,
      AuthorizationCode: 60,
      IdToken: 3600,
      Interaction: 3600,
      RefreshToken: 14 * 86_400,
      Grant: 14 * 86_400,
      Session: 14 * 86_400,
    },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, _client, oneOf) => oneOf ?? [],
        getResourceServerInfo: (ctx, resource) => {
          const scope = scopeAt(rules, resource, ctx.oidc.params?.grant_type);
          return { scope, audience: resource, ...signedTokens(accessTokenSeconds) };
        },
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => answer(ctx, signOutPage(new Html(form), cameFromTheApp(ctx))),
        postLogoutSuccessSource: (ctx) => answer(ctx, signedOutPage(baseUrl)),
      },
    },
    interactions: {
      policy: policyWithStepUp(),
      url: (_ctx, interaction) => `/interaction/${interaction.uid}`,
    },
    renderError: (ctx, out) => answer(ctx, problemPage(out.error_description ?? out.error, baseUrl)),
  });
  const { contacts, directory } = rules;
  if (contacts && directory) {
    addTokenExchange(provider, key, {
      own: contacts,
      target: directory,
      ...signedTokens(accessTokenSeconds),
    });
  }
  provider.on('server_error', (_ctx, error) => console.error('provider:', error));
  const grants = countGrants(provider);

  const app = express().disable('x-powered-by');
  app.get('/style.css', (_request, response) => response.type('css').send(styleSheet));
  app.get('/submit.js', (_request, response) => response.type('js').send(submitScript));
  app.get('/grants/:who', (request, response) => response.json(grants(request.params.who)));
  addInteractions(app, provider, baseUrl);
  app.use(provider.callback());
  return app;
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
  const kid = randomBytes(8).toString('hex');
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' };
}
