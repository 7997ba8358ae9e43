import express, { type ErrorRequestHandler, type Express } from 'express';
import { errors, type Provider } from 'oidc-provider';
import { sendPage } from '../html.ts';
import { SECOND_FACTOR } from '../settings.ts';
import { confirmPage, consentPage, loginPage, problemPage } from './pages.ts';
import { people } from './people.ts';
import { isStepUp } from './step-up.ts';

/** The questions a provider asks: who are you, is it really you, and is it all right? */
export function addInteractions(app: Express, provider: Provider, baseUrl: string): void {
  app.get('/interaction/:uid', async (request, response) => {
    const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
    const person = people.find((one) => one.sub === session?.accountId);
    if (prompt.name === 'login') {
      return sendPage(
        response,
        200,
        person && isStepUp(prompt)
          ? confirmPage(request.path, person)
          : loginPage(request.path, people, params.login_hint),
      );
    }
    const grant = grantId ? await provider.Grant.find(grantId) : undefined;
    const earlier = Object.values(grant?.resources ?? {}).flatMap((scope) => scope.split(' '));
    const missing = missingScopes(prompt.details).flatMap(([, scopes]) => scopes);
    const asked = missing.length > 0 ? missing : String(params.scope).split(' '); // prompt=consent asks again
    sendPage(response, 200, consentPage(request.path, person, asked, earlier));
  });

  app.post('/interaction/:uid/login', express.urlencoded({ extended: false }), async (request, response) => {
    const person = people.find((one) => one.sub === request.body?.user);
    if (!person)
      return response.redirect(303, `/interaction/${encodeURIComponent(request.params.uid as string)}`);
    await provider.interactionFinished(request, response, { login: { accountId: person.sub } });
  });

  app.post('/interaction/:uid/confirm', async (request, response) => {
    const { session } = await provider.interactionDetails(request, response);
    if (!session?.accountId) throw new errors.SessionNotFound('nobody is signed in');
    const login = { accountId: session.accountId, acr: SECOND_FACTOR };
    await provider.interactionFinished(request, response, { login });
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
    const what = 'This page is no longer valid: it was open too long, or sent twice.';
    sendPage(response, 400, problemPage(what, baseUrl));
  }) satisfies ErrorRequestHandler);
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
