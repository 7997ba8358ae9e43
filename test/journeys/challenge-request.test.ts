import { expect, test } from '@jest/globals';
import { MemoryStore } from 'express-session';
import { R1, R2 } from '../support/provider.ts';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import {
  asked,
  fetchJson,
  forget,
  LOGIN_AB,
  leave,
  loginRefreshToken,
  open,
  start,
  words,
} from './challenge-setup.ts';

const PLAIN = { scopes: LOGIN_AB, allowUnencryptedTokens: true };

/** All that an unencrypted store holds, what is in base64url decoded. */
function stored(store: MemoryStore): string {
  const text = JSON.stringify((store as MemoryStore & { sessions: object }).sessions);
  return text + text.replace(/[\w-]{40,}/g, (run) => Buffer.from(run, 'base64url').toString());
}

test('A14: invalid_grant at a page → 302 with scopes, login_hint, PKCE and state; the refresh token is gone; back at the original URL', async () => {
  const store = new MemoryStore();
  const journey = await start({ app: { auth: PLAIN, store } });
  const { provider, app, browser } = journey;
  const refreshToken = loginRefreshToken(provider);
  expect(stored(store)).toContain(refreshToken);
  await forget(provider, refreshToken);
  provider.clearCalls();

  const url = `${app.url}/token?scope=c&x=1%202&y=%C3%A9`;
  const left = await leave(journey, url);
  expect(left.hops).toMatchObject([{ status: 302, url }]);
  const request = asked(left);
  expect(words(request.get('scope'))).toEqual(words(`${LOGIN_AB} c`));
  expect(Object.fromEntries(request)).toMatchObject({
    response_type: 'code',
    redirect_uri: `${app.url}/callback`,
    login_hint: 'alice',
    code_challenge: expect.stringMatching(/^[\w-]{43}$/),
    code_challenge_method: 'S256',
    state: expect.stringMatching(/^[\w-]{40,}$/),
    nonce: expect.stringMatching(/^[\w-]{40,}$/),
  });
  expect(provider.refreshCalls).toHaveLength(1);
  expect(stored(store)).not.toContain(refreshToken);

  expect((await open(journey, '/token?scope=c')).status).toBe(302);
  expect(provider.refreshCalls).toHaveLength(1);
  expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({ source: 'cache' });

  const back = await browser.navigate(left.held);
  expect(back).toMatchObject({ status: 200, url });
  expect(JSON.parse(back.text)).toMatchObject({ scopes: expect.arrayContaining(['a', 'b', 'c']) });
  provider.accessTokenTtl = 60;
  travel(3600);
  expect((await fetchJson(journey, '/token?scope=c')).json).toMatchObject({ reason: 'expired' });
});

test('A15: interaction_required with claims → the challenge carries exactly those, and they are not sent again', async () => {
  const journey = await start({ app: { auth: { scopes: LOGIN_AB } } });
  const { provider, app, browser } = journey;
  const claims = '{"id_token":{"acr":{"value":"mfa","essential":true}}}';
  provider.clearCalls();
  provider.script({ status: 400, json: { error: 'interaction_required', claims } });

  const url = `${app.url}/token?scope=c`;
  const left = await leave(journey, url);
  expect(asked(left).get('claims')).toBe(claims);
  expect(await browser.navigate(left.held)).toMatchObject({ status: 200, url });
  expect((await fetchJson(journey, '/user')).json).toMatchObject({ acr: 'mfa' });

  travel(3600);
  expect((await fetchJson(journey, '/token?scope=c')).json).toMatchObject({ source: 'provider' });
  provider.script({ status: 400, json: { error: 'invalid_grant' } });
  expect(asked(await leave(journey, `${app.url}/token?scope=x`)).has('claims')).toBe(false);
  expect(provider.tokenCalls.slice(1).map(({ params }) => params.claims)).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(provider.authorizations).toHaveLength(1);
});

test('A15: claims that come as an object, and an answer with claims that are none', async () => {
  const journey = await start();
  const { provider, app } = journey;
  const claims = { access_token: { acrs: { essential: true, value: 'c1' } } };
  provider.script({ status: 400, json: { error: 'interaction_required', claims } });
  const left = await leave(journey, `${app.url}/token?scope=c`);
  expect(JSON.parse(asked(left).get('claims') ?? '')).toEqual(claims);
  provider.script({ status: 400, json: { error: 'interaction_required', claims: 'no JSON' } });
  expect(asked(await leave(journey, `${app.url}/token?scope=c`)).has('claims')).toBe(false);
});

test.each([
  ['interaction_required', {}],
  ['login_required', {}],
  ['consent_required', {}],
  ['account_selection_required', {}],
  ['mfa_required', {}],
  ['insufficient_user_authentication', {}],
  ['invalid_grant', { suberror: 'consent_required' }],
  ['invalid_grant', { suberror: 'mfa_required' }],
])(
  'A16: %s %j for c → a challenge for c; getToken(a) and the refresh token still work',
  async (error, more) => {
    const journey = await start({ app: { auth: { scopes: LOGIN_AB } } });
    const { provider, app } = journey;
    provider.script({ status: 400, json: { error, ...more } });
    const left = await leave(journey, `${app.url}/token?scope=c`);
    expect(words(asked(left).get('scope'))).toEqual(words(`${LOGIN_AB} c`));
    expect((await fetchJson(journey, '/token?scope=a')).json).toMatchObject({ source: 'cache' });
    expect((await fetchJson(journey, '/token?scope=a&force')).json).toMatchObject({ reason: 'forced' });
    expect(provider.refreshCalls.map(({ params }) => params.refresh_token)).toEqual([
      loginRefreshToken(provider),
      loginRefreshToken(provider),
    ]);
  },
);

test('the challenge asks for the missing scopes together with all that were granted before', async () => {
  const journey = await start({ app: { auth: { scopes: 'openid offline_access a b c' } } });
  const { provider, app, browser } = journey;
  // A token for less, and one with more: what was granted is what counts, whichever token holds it.
  expect((await fetchJson(journey, '/token?scope=a&force')).json).toMatchObject({ source: 'provider' });
  expect(await browser.navigate(`${app.url}/token?scope=x`)).toMatchObject({ status: 200 });
  const left = await leave(journey, `${app.url}/token?scope=y%20z`);
  expect(words(asked(left).get('scope'))).toEqual(words('openid offline_access a b c x y z'));
  expect(asked(left).getAll('scope')).toHaveLength(1);
  expect(provider.authorizations).toHaveLength(2);
});

test('the challenge names each resource once: those of the option and those in the cache', async () => {
  const resources = { mail: { resource: R1, scopes: 'read' } };
  const journey = await start({ app: { auth: { scopes: LOGIN_AB, resources } } });
  const { provider, app, browser } = journey;
  expect(provider.authorizations.map(({ resource }) => resource)).toEqual([R1]);
  const other = await browser.navigate(`${app.url}/token?scope=write&resource=${R2}`);
  expect(JSON.parse(other.text)).toMatchObject({ scopes: expect.arrayContaining(['write']) });
  expect(provider.authorizations[1]?.resource).toEqual([R1, R2]);
  provider.script({ status: 400, json: { error: 'consent_required' } });
  const left = await leave(journey, `${app.url}/token?scope=x&resource=${R1}`);
  expect(asked(left).getAll('resource').sort()).toEqual([R1, R2]);
});

test('a challenge for nobody in particular has no login_hint', async () => {
  const journey = await start({ signedIn: false });
  const request = asked(await leave(journey, `${journey.app.url}/token?scope=c`));
  expect(request.has('login_hint')).toBe(false);
  expect(request.has('claims')).toBe(false);
  expect(request.has('prompt')).toBe(false);
  expect(words(request.get('scope'))).toEqual(words('openid profile email offline_access c'));
});

test('acr_values and max_age that the login does not meet go with the challenge, and are met afterwards', async () => {
  const journey = await start({
    app: {
      auth: { scopes: LOGIN_AB },
      routes: (app) => {
        app.get(
          '/acr',
          async (req, res) => void res.json(await req.getToken({ scopes: 'a', acrValues: ['mfa', 'phr'] })),
        );
        app.get(
          '/recent',
          async (req, res) => void res.json(await req.getToken({ scopes: 'a', maxAge: 60 })),
        );
      },
    },
  });
  const { app, browser, provider } = journey;
  const left = await leave(journey, `${app.url}/acr`);
  expect(asked(left).get('acr_values')).toBe('mfa phr');
  expect(asked(left).has('max_age')).toBe(false);
  expect(await browser.navigate(left.held)).toMatchObject({ status: 200, url: `${app.url}/acr` });
  expect((await fetchJson(journey, '/user')).json).toMatchObject({ acr: 'mfa' });
  expect((await fetchJson(journey, '/recent')).status).toBe(200);
  travel(120);
  const again = await leave(journey, `${app.url}/recent`);
  expect(asked(again).get('max_age')).toBe('60');
  expect(await browser.navigate(again.held)).toMatchObject({ status: 200, url: `${app.url}/recent` });
  expect(provider.refreshCalls).toEqual([]);
});

test('the session is saved before the redirect leaves, however long the store takes', async () => {
  const store = countingStore();
  const { app, browser, provider } = await start({ signedIn: false, app: { store } });
  store.fault = { set: 150 };
  const page = await browser.navigate(`${app.url}/token?scope=c`);
  expect(page).toMatchObject({ status: 200, url: `${app.url}/token?scope=c` });
  expect(provider.authorizations).toHaveLength(1);
});

test.each(['at once', 'one after the other'])(
  'two getToken calls that fail %s make one transaction',
  async (when) => {
    const store = countingStore();
    const journey = await start({
      signedIn: false,
      app: {
        store,
        routes: (app) => {
          app.get('/both', async (req, res) => {
            const first = req.getToken('a');
            if (when !== 'at once') await first.catch(() => undefined);
            const results = await Promise.allSettled([first, req.getToken('b')]);
            res.status(500).json(results.map(({ status }) => status));
          });
        },
      },
    });
    const { provider, app, browser } = journey;
    const left = await leave(journey, `${app.url}/both`);
    expect(store.count('set', 'oidc.')).toBe(1);
    expect(words(asked(left).get('scope'))).toContain('a');
    // With `a` there, `b` is a request of its own.
    expect(await browser.navigate(left.held)).toMatchObject({ text: '["fulfilled","fulfilled"]' });
    expect(provider.authorizations).toHaveLength(2);
  },
);
