import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Express, Request } from 'express';
import { requiresBearer, type TokenRequest } from 'express-oidc-tokens';
import { MemoryStore } from 'express-session';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { CookieJar } from '../support/cookie-jar.ts';
import { fc, runs, SEED } from '../support/properties.ts';
import { R1, R2, startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';
import { lastingKeys } from './get-token-stage.ts';

// Through HTTP, over one store: whoever asks gets a token of their own, for what was asked. The many orders of events
// are in test/model/isolation.test.ts.

const RUNS = runs(8);
const SESSIONS = 3;
const USERS = ['alice', 'bob'];
const served = { user: 0, app: 0, onBehalfOf: 0 };

let provider: TestProvider;
let apps: TestApp[];
let api: TestApp;
let incoming: { token: string; subject: string }[];

const requestOf = (req: Request) => JSON.parse(String(req.query.request)) as TokenRequest;

beforeAll(async () => {
  provider = await startProvider();
  const own = { ...lastingKeys(), scopes: 'openid offline_access read write', resources };
  const shared = { provider, store: new MemoryStore(), auth: own };
  const routes = (app: Express, handle: TestApp['handle']) => {
    app.get('/user-token', async (req, res) => void res.json(await req.getTokenSilent(requestOf(req))));
    app.get('/app-token', async (req, res) => void res.json(await handle.getAppToken(requestOf(req))));
  };
  apps = [await startApp({ ...shared, routes }), await startApp({ ...shared, routes })];
  api = await startApp({
    provider: { issuer: provider.issuer, client: provider.api },
    session: false,
    auth: { session: false },
    routes: (app) => {
      app.get('/call', requiresBearer({ audience: R1 }), async (req, res) => {
        res.json(await req.getTokenOnBehalfOf(requestOf(req)));
      });
    },
  });
  incoming = await Promise.all(
    ['alice', 'bob', 'alice'].map(async (subject, index) => ({
      subject,
      token: await provider.signIdToken(
        { sub: subject, aud: R1, jti: String(index), exp: 4_000_000_000 },
        { header: { typ: 'at+jwt' } },
      ),
    })),
  );
});

afterAll(async () => {
  restoreTime();
  process.stdout.write(`isolation over HTTP: seed ${SEED}, ${RUNS} runs, served ${JSON.stringify(served)}\n`);
  for (const app of [...apps, api]) await app.close();
  await provider.close();
});

const scopes = ['read', 'write'];
const resources = { r1: { resource: R1, scopes }, r2: { resource: R2, scopes } };

interface Token {
  accessToken: string;
  scopes: string[];
  account?: { subject: string };
}

/** Undefined where there was none to give. */
async function fetchToken(
  url: string,
  request: TokenRequest,
  headers: Record<string, string> = {},
): Promise<Token | undefined> {
  const answer = await fetch(`${url}?request=${encodeURIComponent(JSON.stringify(request))}`, { headers });
  if (answer.status === 200) return (await answer.json()) as Token;
  expect([401, 503]).toContain(answer.status);
  await answer.body?.cancel();
  return undefined;
}

/** What the provider says of a token is what was asked for, and its result says the same. */
async function check(token: Token, { scopes: asked, resource }: TokenRequest) {
  const { AccessToken, ClientCredentials } = provider.oidc;
  const [ofUser, ofApp] = [
    await AccessToken.find(token.accessToken),
    await ClientCredentials.find(token.accessToken),
  ];
  const found = ofUser ?? ofApp;
  expect([found?.aud].flat()).toEqual([resource]);
  expect(found?.scope?.split(' ').sort()).toEqual([...token.scopes].sort());
  expect(token.scopes).toEqual(expect.arrayContaining([asked]));
  return { subject: ofUser?.accountId, isApps: ofApp !== undefined };
}

/** Browsers of a run: a session each, and who is signed in. */
class Sessions {
  readonly #jars = Array.from({ length: SESSIONS }, () => new CookieJar());
  readonly #subjects: (string | undefined)[] = [];

  async logIn(session: number, subject: string): Promise<void> {
    const jar = this.#jars[session] as CookieJar;
    jar.clear(provider.issuer);
    const browser = new Browser({ account: subject, jar });
    expect((await browser.login(apps[0] as TestApp)).text).toBe(`signed in as ${subject}`);
    browser.close();
    this.#subjects[session] = subject;
  }

  async logOut(session: number): Promise<void> {
    const browser = new Browser({ jar: this.#jars[session] as CookieJar });
    await browser.navigate(`${apps[0]?.url}/logout`);
    browser.close();
    this.#subjects[session] = undefined;
  }

  async getToken(session: number, process: number, request: TokenRequest): Promise<void> {
    const cookie = this.#jars[session]?.header(new URL(String(apps[0]?.url)), {
      crossSite: false,
      safeNavigation: true,
    });
    const token = await fetchToken(`${apps[process]?.url}/user-token`, request, cookie ? { cookie } : {});
    if (token === undefined) return;
    served.user += 1;
    const subject = this.#subjects[session];
    expect(subject).toBeDefined();
    expect(await check(token, request)).toEqual({ subject, isApps: false });
    expect(token.account?.subject).toBe(subject);
  }
}

async function getAppToken(process: number, request: TokenRequest): Promise<void> {
  const token = await fetchToken(`${apps[process]?.url}/app-token`, request);
  if (token === undefined) return;
  served.app += 1;
  expect(await check(token, request)).toEqual({ subject: undefined, isApps: true });
}

async function getTokenOnBehalfOf(caller: number, request: TokenRequest): Promise<void> {
  const { token: assertion, subject } = incoming[caller] as (typeof incoming)[number];
  const token = await fetchToken(`${api.url}/call`, request, { authorization: `Bearer ${assertion}` });
  if (token === undefined) return;
  served.onBehalfOf += 1;
  expect(await check(token, request)).toEqual({ subject, isApps: false });
  const answers = provider.tokenCalls.filter(({ answer }) => answer?.access_token === token.accessToken);
  expect(answers.map(({ params }) => params.subject_token)).toEqual([assertion]);
}

type Asked =
  | { kind: 'user'; session: number; process: number; request: TokenRequest }
  | { kind: 'app'; process: number; request: TokenRequest }
  | { kind: 'on behalf of'; caller: number; request: TokenRequest };

type Change =
  | { kind: 'login'; session: number; subject: string }
  | { kind: 'logout'; session: number }
  | { kind: 'expiry' };

function ask(sessions: Sessions, asked: Asked): Promise<void> {
  if (asked.kind === 'user') return sessions.getToken(asked.session, asked.process, asked.request);
  if (asked.kind === 'app') return getAppToken(asked.process, asked.request);
  return getTokenOnBehalfOf(asked.caller, asked.request);
}

async function make(sessions: Sessions, change: Change): Promise<void> {
  if (change.kind === 'login') await sessions.logIn(change.session, change.subject);
  else if (change.kind === 'logout') await sessions.logOut(change.session);
  else travel(3601);
}

const kind = <K extends string>(name: K) => fc.constant(name);
const session = fc.nat(SESSIONS - 1);
const process_ = fc.nat(1);
const request = fc.record({
  scopes: fc.constantFrom(...scopes),
  resource: fc.constantFrom(R1, R2),
  forceRefresh: fc.constantFrom(false, false, false, true),
});
const asking: fc.Arbitrary<Asked> = fc.oneof(
  fc.record({ kind: kind('user'), session, process: process_, request }),
  fc.record({ kind: kind('app'), process: process_, request }),
  fc.record({ kind: kind('on behalf of'), caller: fc.nat(2), request }),
);
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: kind('login'), session, subject: fc.constantFrom(...USERS) }),
  fc.record({ kind: kind('logout'), session }),
  fc.record({ kind: kind('expiry') }),
);
const rounds = fc.array(fc.tuple(fc.array(asking, { minLength: 6, maxLength: 12 }), change), {
  minLength: 2,
  maxLength: 3,
});
/** How long the provider keeps each answer back, and which ones it does not give. */
const answers = fc.infiniteStream(
  fc.record({ delayMs: fc.nat(8), status: fc.constantFrom(undefined, undefined, undefined, 500) }),
);

test('sessions, processes, APIs and callers at once: nobody gets what is another’s', async () => {
  await fc.assert(
    fc.asyncProperty(rounds, answers, async (given, stream) => {
      const sessions = new Sessions();
      for (let index = 0; index < SESSIONS; index += 1)
        await sessions.logIn(index, USERS[index % 2] as string);
      provider.scriptAlways(({ params }) => {
        if (params.grant_type === 'authorization_code') return undefined;
        const { delayMs, status } = stream.next().value;
        return { delayMs, ...(status === undefined ? {} : { status, body: 'Oops' }) };
      });
      for (const [asked, changed] of given) {
        await Promise.all(asked.map((one) => ask(sessions, one)));
        await make(sessions, changed);
      }
    }),
    // What the provider and the stores remember makes smaller examples mislead.
    { numRuns: RUNS, endOnFailure: true },
  );
  expect(Object.values(served).every((count) => count > 0)).toBe(true);
});
