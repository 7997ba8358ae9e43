import express from 'express';
import { auth, requiresBearer } from 'express-oidc-tokens';
import type { ApiRule, Client } from '../settings.ts';
import type { WebApi } from './app.ts';
import { type Caller, callerOf } from './caller.ts';
import { contactsOf } from './data.ts';
import { answerInJson } from './problems.ts';

export interface DirectoryAnswer {
  contacts: string[];
  caller: Caller;
}

export interface DirectoryOptions {
  issuer: string;
  /** Who asks the provider about a token that is no JWT. */
  client: Client;
  rule: ApiRule | undefined;
}

/** The second web API. The web app's tokens do not open it: only the first API has tokens for it, by exchange. */
export function createDirectory({ issuer, client, rule }: DirectoryOptions): WebApi {
  const app = express().disable('x-powered-by');
  const oidc = auth({ session: false, issuer, ...client });
  app.use(oidc);
  if (rule) {
    app.get(
      '/directory',
      requiresBearer({ audience: rule.audience, scopes: rule.scope }, ({ bearer }, response) => {
        const answer: DirectoryAnswer = { contacts: contactsOf(bearer.subject), caller: callerOf(bearer) };
        response.json(answer);
      }),
    );
  }
  app.use(answerInJson);
  return { app, close: oidc.close };
}
