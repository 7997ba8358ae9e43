import express, { type Express, type RequestHandler, type Response } from 'express';
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { ApiName, ApiRule } from './settings.ts';

export interface WebApiOptions {
  issuer: string;
  rules: Partial<Record<ApiName, ApiRule>>;
}

/** Two endpoints, each with its own audience and scope. A token for one does not open the other. */
export function createWebApi({ issuer, rules }: WebApiOptions): Express {
  const provider = lazyProvider(issuer);
  const app = express().disable('x-powered-by');
  app.use((_request, response, next) => {
    response.set('cache-control', 'no-store');
    next();
  });
  if (rules.mail) {
    app.get('/mail', requireToken(provider, rules.mail), (_request, response) => {
      response.json({ messages: messagesOf(response.locals.subject) });
    });
  }
  if (rules.calendar) {
    app.get('/calendar', requireToken(provider, rules.calendar), (_request, response) => {
      response.json({ events: eventsOf(response.locals.subject, new Date()) });
    });
  }
  return app;
}

/** RFC 6750: no token or a bad one is a 401, a good one that is not enough is a 403. */
function requireToken(provider: () => Promise<Provider>, rule: ApiRule): RequestHandler {
  return async function checkToken(request, response, next) {
    const token = /^Bearer +([\w\-.~+/]+=*)$/i.exec(request.get('authorization') ?? '')?.[1];
    if (!token) return refuse(response, 401);

    let claims: JWTPayload;
    try {
      const { issuer, keys } = await provider();
      const verified = await jwtVerify(token, keys, {
        issuer,
        audience: rule.audience,
        algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
        requiredClaims: ['sub', 'exp'],
        clockTolerance: 5,
      });
      claims = verified.payload;
    } catch (error) {
      if (isTokensFault(error)) {
        return refuse(response, 401, { error: 'invalid_token', error_description: why(error) });
      }
      console.error('web API: the provider could not be asked for its keys:', (error as Error).message);
      response.status(503).set('retry-after', '5').json({ error: 'temporarily_unavailable' });
      return;
    }

    const granted = scopesOf(claims);
    if (!rule.scope.split(' ').every((scope) => granted.includes(scope))) {
      return refuse(response, 403, { error: 'insufficient_scope', scope: rule.scope });
    }
    response.locals.subject = claims.sub;
    next();
  };
}

function refuse(response: Response, status: 401 | 403, parameters: Record<string, string> = {}): void {
  const list = Object.entries({ realm: 'sample', ...parameters }).map(
    ([name, value]) => `${name}="${value}"`,
  );
  response
    .status(status)
    .set('www-authenticate', `Bearer ${list.join(', ')}`)
    .json(parameters);
}

/** `scope` is RFC 9068's; `scp` is what Entra ID and Okta send. */
function scopesOf(claims: JWTPayload): string[] {
  const value = claims.scope ?? claims.scp;
  if (Array.isArray(value)) return value.map(String);
  return typeof value === 'string' ? value.split(' ') : [];
}

/** The rest are keys that could not be fetched, and no fault of the caller's. */
function isTokensFault(error: unknown): error is errors.JOSEError {
  return (
    error instanceof errors.JOSEError && !/^ERR_(JOSE_GENERIC|JWKS_INVALID|JWKS_TIMEOUT)$/.test(error.code)
  );
}

function why(error: errors.JOSEError): string {
  if (error instanceof errors.JWTExpired) return 'the token has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `the token's ${error.claim} is not what this API needs`;
  return 'the token is not one that this API can verify';
}

interface Provider {
  issuer: string;
  keys: JWTVerifyGetKey;
}

/** Asked at the first request and kept; a failure is not kept. */
function lazyProvider(issuer: string): () => Promise<Provider> {
  let known: Promise<Provider> | undefined;
  return () => {
    known ??= discover(issuer);
    const found = known;
    found.catch(() => {
      if (known === found) known = undefined;
    });
    return found;
  };
}

async function discover(issuer: string): Promise<Provider> {
  const address = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const response = await fetch(address, { signal: AbortSignal.timeout(5000) });
  if (!response.ok) throw new Error(`${address} answered ${response.status}`);
  const metadata = (await response.json()) as { issuer: string; jwks_uri: string };
  return { issuer: metadata.issuer, keys: createRemoteJWKSet(new URL(metadata.jwks_uri)) };
}

export interface Message {
  from: string;
  subject: string;
  text: string;
}

export interface CalendarEvent {
  at: string;
  title: string;
}

const inboxes: Record<string, Message[]> = {
  alice: [
    {
      from: 'Bob',
      subject: 'Lunch on Thursday?',
      text: 'The new noodle place has opened. My treat this time.',
    },
    {
      from: 'Library',
      subject: 'Your book is ready',
      text: '“The Left Hand of Darkness” waits for you until Friday.',
    },
    { from: 'Mum', subject: 'Re: Photos <3', text: 'Lovely! Send me the one with the dog & the kite.' },
  ],
  bob: [
    {
      from: 'Alice',
      subject: 'Re: Lunch on Thursday?',
      text: 'Yes! Half past twelve, in front of the station.',
    },
    { from: 'Bike shop', subject: 'Repair finished', text: 'New chain, new brake pads. Open until six.' },
  ],
};

function messagesOf(subject: string): Message[] {
  return (
    inboxes[subject] ?? [
      { from: 'The sample', subject: 'It works', text: `You are ${subject} at your provider.` },
    ]
  );
}

function eventsOf(subject: string, today: Date): CalendarEvent[] {
  const other = subject === 'alice' ? 'Bob' : 'Alice';
  const titles: [days: number, time: string, title: string][] = [
    [0, '09:30', 'Stand-up'],
    [1, '12:30', `Lunch with ${other}`],
    [3, '19:00', 'Choir'],
  ];
  return titles.map(([days, time, title]) => {
    const day = new Date(today.getTime() + days * 86_400_000).toISOString().slice(0, 10);
    return { at: `${day} ${time}`, title };
  });
}
