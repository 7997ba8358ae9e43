import { describe, expect, test } from '@jest/globals';
import type { ErrorRequestHandler, Express, RequestHandler } from 'express';
import { claimCheck, claimEquals, claimIncludes, requiresAuth, requiresToken } from 'express-oidc-tokens';
import { travel } from '../support/time.ts';
import { asked, fetchJson, type Journey, LOGIN_AB, leave, open, start, words } from './challenge-setup.ts';

const ALICE = { tenant: 'blue', groups: ['dev', 'ops'] };

type Mount = (app: Express) => void;

async function journeyWith(
  routes: Mount,
  {
    express = 5,
    signedIn = true,
    denyScopes = new Set<string>(),
  }: { express?: 4 | 5; signedIn?: boolean; denyScopes?: Set<string> } = {},
): Promise<Journey> {
  return start({
    signedIn,
    provider: { accountClaims: () => ALICE, denyScopes },
    app: { express, routes, auth: { scopes: LOGIN_AB } },
  });
}

const showMessage: ErrorRequestHandler = (error, _req, res, _next) => {
  res.status(error.status).send(error.message);
};

const answer: RequestHandler = (req, res) => {
  res.json({ user: req.oidc.user?.sub, token: req.token?.scopes });
};

/** Both forms of every guard that alice passes; `token`: it gives `req.token`, for the scope `a`. */
const GUARDS: [
  name: string,
  middleware: () => RequestHandler,
  decorator: () => RequestHandler,
  token?: true,
][] = [
  ['requiresAuth', () => requiresAuth(), () => requiresAuth(answer)],
  ['requiresToken', () => requiresToken('a'), () => requiresToken('a', answer), true],
  ['claimEquals', () => claimEquals('tenant', 'blue'), () => claimEquals('tenant', 'blue', answer)],
  ['claimIncludes', () => claimIncludes('groups', 'dev'), () => claimIncludes('groups', 'dev', answer)],
  [
    'claimCheck',
    () => claimCheck((_req, { tenant }) => tenant === 'blue'),
    () => claimCheck(async () => true, answer),
  ],
];

describe.each([5, 4] as const)('Express %i', (express) => {
  describe.each(GUARDS)('%s', (name, middleware, decorator, token) => {
    const mount: Mount = (app) => {
      app.all('/middleware', middleware(), answer);
      app.all('/decorator', decorator());
    };

    test('signed in: the handler runs and sees the user', async () => {
      const journey = await journeyWith(mount, { express });
      for (const path of ['/middleware', '/decorator']) {
        const { status, json } = await fetchJson(journey, path);
        expect(status).toBe(200);
        expect(json).toEqual({ user: 'alice', ...(token ? { token: expect.arrayContaining(['a']) } : {}) });
      }
      expect(middleware().name).toBe(name);
    });

    test('nobody signed in: a page is sent to the provider and comes back, a script is told, the handler never runs', async () => {
      const journey = await journeyWith(mount, { express, signedIn: false });
      const { app, browser } = journey;
      for (const path of ['/middleware', '/decorator']) {
        const told = await fetchJson(journey, path);
        expect(told).toMatchObject({
          status: 401,
          json: { error: 'interaction_required', scopes: token ? ['a'] : [] },
        });
        const post = await open(journey, path, 'POST');
        expect(post.status).toBe(401);
        expect(post.headers['content-type']).toMatch('text/html');
        await leave(journey, `${app.url}${path}?q=1`);
      }
      const url = `${app.url}/decorator?q=1`;
      expect(await browser.navigate(url)).toMatchObject({ status: 200, url });
      expect((await fetchJson(journey, '/middleware')).status).toBe(200);
    });
  });

  test('a decorator forwards what its handler throws or rejects with', async () => {
    const teapot = () => {
      throw Object.assign(new Error('thrown'), { status: 418 });
    };
    const later = async () => teapot();
    const guarded = {
      auth: requiresAuth(later),
      'auth-sync': requiresAuth(teapot),
      'with-token': requiresToken('a', later),
      'with-own-token': requiresToken(later),
      equals: claimEquals('tenant', 'blue', later),
      includes: claimIncludes('groups', 'dev', later),
      check: claimCheck(() => true, later),
      'check-throws': claimCheck(teapot, answer),
      'check-rejects': claimCheck(later, answer),
    };
    const mount: Mount = (app) => {
      for (const [path, handler] of Object.entries(guarded)) app.get(`/${path}`, handler);
    };
    const journey = await journeyWith(mount, { express });
    for (const path of Object.keys(guarded))
      expect([path, (await open(journey, `/${path}`)).status]).toEqual([path, 418]);
  });

  test('a decorated handler may ask for more tokens, and may call next()', async () => {
    const journey = await journeyWith(
      (app) => {
        app.get(
          '/more',
          requiresToken('a', async (req, res) => {
            const { scopes } = await req.getToken('c');
            res.json(scopes);
          }),
        );
        app.get(
          '/next',
          requiresAuth((_req, _res, next) => next()),
          (_req, res) => void res.send('next'),
        );
      },
      { express },
    );
    const { app, browser } = journey;
    expect(words(asked(await leave(journey, `${app.url}/more`)).get('scope'))).toEqual(
      words(`${LOGIN_AB} c`),
    );
    expect(await browser.navigate(`${app.url}/more`)).toMatchObject({ status: 200 });
    expect(await open(journey, '/next')).toMatchObject({ status: 200, text: 'next' });
  });
});

test('a guard over a router, and guards in a row', async () => {
  const journey = await journeyWith(
    (app) => {
      app.use('/area', requiresAuth());
      app.get('/area/page', requiresToken('a'), requiresToken('c'), answer);
    },
    { signedIn: false },
  );
  const { app, browser, provider } = journey;
  const page = await browser.navigate(`${app.url}/area/page`);
  expect(page.status).toBe(200);
  // The token of the last guard is the one in hand.
  expect(JSON.parse(page.text)).toEqual({ user: 'alice', token: expect.arrayContaining(['c']) });
  expect(provider.authorizations).toHaveLength(2);
});

test('requiresToken refreshes, takes a request object, and passes on what no login can cure', async () => {
  const journey = await journeyWith(
    (app) => {
      app.get('/a', requiresToken({ scopes: ['a'] }), answer);
      app.get('/login-own', requiresToken(), answer);
      app.get('/c', requiresToken('c', answer));
    },
    { denyScopes: new Set(['c']) },
  );
  const { app, browser, provider } = journey;
  expect(await browser.navigate(`${app.url}/c`)).toMatchObject({ status: 403 });
  travel(3600);
  provider.scriptAlways({ status: 503, headers: { 'retry-after': '2' }, json: {} });
  const down = await open(journey, '/a');
  expect(down.status).toBe(503);
  expect(down.headers).toMatchObject({ 'retry-after': '2' });
  expect(down.headers.location).toBeUndefined();
  provider.scriptAlways(undefined);
  travel(3);
  expect((await fetchJson(journey, '/a')).json).toEqual({
    user: 'alice',
    token: expect.arrayContaining(['a']),
  });
  expect((await fetchJson(journey, '/login-own')).json).toMatchObject({
    token: expect.arrayContaining(['a', 'b']),
  });
});

test('a guard that auth() does not stand in front of says so', async () => {
  const journey = await start({
    signedIn: false,
    app: {
      before: (app) => {
        app.get('/early', requiresAuth(), answer);
        app.get('/early-token', requiresToken('a'), answer);
        app.use(showMessage);
      },
    },
  });
  for (const path of ['/early', '/early-token'])
    expect(await open(journey, path)).toMatchObject({
      status: 500,
      text: expect.stringContaining('app.use(auth())'),
    });
});
