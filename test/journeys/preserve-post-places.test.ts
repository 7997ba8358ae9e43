import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import express5, { type Express, type RequestHandler } from 'express';
import { auth, requiresAuth, requiresToken } from 'express-oidc-tokens';
import express4 from 'express4';
import { R1, R2 } from '../support/provider-settings.ts';
import { freePort } from '../support/server.ts';
import { allFactories } from '../support/store-factories.ts';
import { travel } from '../support/time.ts';
import { closing, LOGIN_AB } from './challenge-setup.ts';
import { FORM_TYPE, kept, page, post, type Stage, stage } from './preserve-post-setup.ts';
import { storeText } from './session-support.ts';

const quiet = () => {};
const silent = { debug: quiet, info: quiet, warn: quiet, error: quiet };
const ARRIVED = { method: 'POST', body: { n: '1' } };

describe.each([4, 5] as const)('A24: a baseUrl with a path, Express %i', (express) => {
  test.each(['as it is', 'by a proxy that strips it'])('handed on %s', async (how) => {
    const port = await freePort();
    const base = `http://127.0.0.1:${port}/shop`;
    const strips = how !== 'as it is';
    const path = strips ? '/orders' : '/shop/orders';
    const journey = await stage({
      express,
      port,
      auth: { baseUrl: base },
      more: (app, record) => app.post(path, requiresAuth(), record),
    });
    journey.app.server.prependListener('request', (req) => {
      if (strips) req.url = req.url?.replace('/shop', '');
    });
    const sent = await post(journey, '/shop/orders?a=1', { n: '1' });
    expect(sent.url).toMatch(`${base}/orders?a=1&oidc_post=`);
    expect(journey.seen).toMatchObject([{ ...ARRIVED, originalUrl: `${path}?a=1`, query: { a: '1' } }]);
    const again = await page(journey, sent.url);
    expect(again).toMatchObject({ status: 302, headers: { location: '/shop/orders?a=1' } });
  });

  test('auth() and the routes mounted under it', async () => {
    const port = await freePort();
    const baseUrl = `http://127.0.0.1:${port}/shop`;
    const journey = await stage({
      express,
      port,
      auth: { preservePost: false },
      more: (app, record, { issuer, client }) => {
        const shop = (express === 4 ? express4 : express5).Router();
        shop.use(auth({ issuer, ...client, baseUrl, preservePost: true, logger: silent }));
        shop.post('/orders/:id', requiresAuth(), record);
        app.use('/shop', shop);
      },
    });
    await post(journey, '/shop/orders/7?a=1', { n: '1' });
    expect(journey.seen).toMatchObject([
      { ...ARRIVED, originalUrl: '/shop/orders/7?a=1', url: '/orders/7?a=1', query: { a: '1' } },
    ]);
  });
});

describe.each(allFactories)('A24: $name', ({ open }) => {
  test('one of five at once replays it', async () => {
    const { store, tokenStore } = closing(await open());
    const journey = await stage({ store, auth: tokenStore === undefined ? {} : { tokenStore } });
    const { url } = await kept(journey, '/guarded');
    const answers = await Promise.all(Array.from({ length: 5 }, () => page(journey, url)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 302, 302, 302, 302]);
    expect(journey.seen).toMatchObject([ARRIVED]);
  });

  // Redis keeps it longer here: it has a clock of its own.
  test('after fifteen minutes: the clean URL, whether the store still has it or not', async () => {
    const { store, tokenStore } = closing(await open());
    const journey = await stage({ store, auth: tokenStore === undefined ? {} : { tokenStore } });
    const { url } = await kept(journey, '/guarded');
    travel(901);
    expect(await page(journey, url)).toMatchObject({ status: 302, headers: { location: '/guarded' } });
    expect(journey.seen).toEqual([]);
  });
});

test.each(['lax', 'none'] as const)('A24: response_mode=form_post, cookie %s', async (sameSite) => {
  const isSecure = sameSite === 'none';
  const journey = await stage({
    auth: { responseMode: 'form_post' },
    session: { cookie: { sameSite, secure: isSecure } },
    before: (app) => {
      app.set('trust proxy', true);
      app.use((req, _res, next) => {
        if (isSecure) req.headers['x-forwarded-proto'] = 'https';
        next();
      });
    },
  });
  expect((await post(journey, '/guarded?a=1', { n: '1' })).status).toBe(200);
  expect(journey.seen).toMatchObject([{ ...ARRIVED, originalUrl: '/guarded?a=1' }]);
});

describe('A24: the replay needs a challenge again', () => {
  const strong = (app: Express, record: RequestHandler) =>
    void app.all('/strong', requiresAuth(), requiresAuth({ acr: 'mfa' }), record);

  test.each(['before', 'after', 'none'] as const)(
    'kept again, then it arrives; parser %s',
    async (parser) => {
      const journey = await stage({
        parser,
        more: (app, record) => {
          // The first login has no acr of mfa, the second is asked for it.
          app.all('/twice', requiresAuth(), requiresAuth({ acr: 'mfa' }), express5.urlencoded(), record);
        },
      });
      const sent = await post(journey, '/twice?a=1', { n: '1' });
      expect(sent.status).toBe(200);
      const own = sent.hops.filter(({ url }) => url.startsWith(`${journey.app.url}/twice`));
      expect(own.map(({ method, status }) => `${method} ${status}`)).toEqual([
        'POST 303',
        'GET 303',
        'GET 200',
      ]);
      expect(journey.seen).toMatchObject([{ ...ARRIVED, originalUrl: '/twice?a=1', site: 'same-origin' }]);
    },
  );

  test('as browsers say it after a redirect from the provider: kept again all the same', async () => {
    const journey = await stage({ more: strong });
    const { url } = await kept(journey, '/strong');
    expect((await page(journey, url, 'GET', { 'sec-fetch-site': 'cross-site' })).status).toBe(303);
  });

  test('a level that never comes ends in a 403, not in a loop', async () => {
    const journey = await stage({ more: strong });
    const stopAt = (url: URL) => url.searchParams.has('acr_values');
    const { held } = await post(journey, '/strong', { n: '1' }, { stopAt });
    const url = new URL(held!.url);
    url.searchParams.delete('acr_values');
    const end = await journey.browser.navigate(url);
    expect(end.status).toBe(403);
    expect(journey.provider.authorizations).toHaveLength(2);
    expect(journey.seen).toEqual([]);
  });

  test('a scope that never comes ends after three logins', async () => {
    const journey = await stage({
      signedIn: true,
      auth: { scopes: LOGIN_AB },
      provider: { client: { grant_types: ['authorization_code'] }, denyScopes: new Set(['c']) },
      more: (app, record) => app.all('/never', requiresToken('c'), record),
    });
    journey.provider.clearCalls();
    const sent = await post(journey, '/never', { n: '1' });
    expect(sent).toMatchObject({ status: 400 });
    expect(journey.provider.authorizations).toHaveLength(3);
    expect(journey.seen).toEqual([]);
    expect(storeText(journey.app.store)).not.toMatch(/oidc\.tx\.post/);
  });
});

test('A24: a provider that takes a single resource is asked again, and the body arrives', async () => {
  const resources = { one: { resource: R1, scopes: 'read' }, two: { resource: R2, scopes: 'read' } };
  const journey = await stage({
    auth: { resources },
    more: (app, record) => app.all('/two', requiresToken('two'), record),
  });
  const { browser, app, provider } = journey;
  const stopAt = (url: URL) => url.origin === provider.issuer;
  const { held } = await post(journey, '/two', { n: '1' }, { stopAt });
  const state = new URL(held!.url).searchParams.get('state');
  const refused = new URLSearchParams({ error: 'invalid_target', state: `${state}`, iss: provider.issuer });
  expect((await browser.navigate(`${app.url}/callback?${refused}`)).status).toBe(200);
  expect(journey.seen).toMatchObject([{ ...ARRIVED, originalUrl: '/two' }]);
});

describe('A24: connections', () => {
  async function send(
    journey: Stage,
    agent: Agent,
    parts: string[],
    length?: number,
  ): Promise<IncomingMessage> {
    const headers = {
      accept: 'text/html',
      'content-type': FORM_TYPE,
      ...(length === undefined ? {} : { 'content-length': length }),
    };
    const req = request(`${journey.app.url}/guarded`, { method: 'POST', headers, agent });
    const response = once(req, 'response') as Promise<[IncomingMessage]>;
    for (const part of parts) {
      req.write(part);
      await new Promise(setImmediate);
    }
    req.end();
    const [res] = await response;
    for await (const _chunk of res);
    return res;
  }

  test('one connection for bodies that are kept, too large with and without a length, and cut up', async () => {
    const journey = await stage({ parser: 'none' });
    let connections = 0;
    journey.app.server.on('connection', () => {
      connections += 1;
    });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    closing({ close: () => agent.destroy() });
    const large = Array(40).fill('x'.repeat(4096));
    const statuses: (number | undefined)[] = [];
    for (const [parts, length] of [
      [['n=1'], 3],
      [large, 40 * 4096],
      [['n=', '1'], undefined],
      [large, undefined],
      [['n=1'], 3],
    ] as const)
      statuses.push((await send(journey, agent, [...parts], length)).statusCode);
    expect(statuses).toEqual([303, 401, 303, 401, 303]);
    expect(connections).toBe(1);
  });
});

test('A24: two tabs of a browser send a form each: both arrive', async () => {
  const journey = await stage();
  const leave = (n: string) =>
    post(journey, `/guarded?n=${n}`, { n }, { stopAt: (url) => url.origin === journey.provider.issuer });
  const first = await leave('1');
  const second = await leave('2');
  await journey.browser.navigate(second.held!);
  await journey.browser.navigate(first.held!);
  expect(journey.seen).toMatchObject([{ body: { n: '2' } }, { body: { n: '1' } }]);
});
