import { expect, test } from '@jest/globals';
import { InteractionRequiredError } from 'express-oidc-tokens';
import { countingStore } from '../support/stores.ts';
import { fetchJson, open, start } from './challenge-setup.ts';

async function anonymous() {
  const store = countingStore();
  const errors: unknown[] = [];
  const unawaited: Promise<unknown>[] = [];
  const journey = await start({
    signedIn: false,
    app: {
      store,
      routes: (app) => {
        app.get('/silent-only', async (req, res) => void res.json(await req.getTokenSilent('a')));
        app.get('/silent-caught', async (req, res) => {
          await req.getTokenSilent('a').catch(() => res.status(418).set('x-mine', 'yes').send('mine'));
        });
        app.get('/silent-login', async (req, res) => {
          await req.getTokenSilent('a').then(
            (token) => res.json(token),
            () => res.oidc.login({ scopes: 'a' }),
          );
        });
        app.get('/both', async (req, res) => {
          await req.getTokenSilent('a').catch((error) => errors.push(error));
          await req.getToken('a').catch((error) => errors.push(error));
          res.status(500).send('oops');
        });
        app.get('/fallback', async (req, res) => {
          await req.getToken('a').catch(() => undefined);
          const status = Number(req.query.status ?? 200);
          res.status(status).set('etag', '"mine"').send('fallback');
        });
        app.get('/unawaited', (req, res) => {
          unawaited.push(req.getToken('a').catch((error) => error));
          res.status(404).send('not found');
        });
        app.get('/late', async (req, res) => {
          res.status(500).write('too ');
          await req.getToken('a').catch(() => res.end('late'));
        });
      },
    },
  });
  return { ...journey, store, errors, unawaited };
}

test('getTokenSilent never touches the response', async () => {
  const journey = await anonymous();
  const caught = await open(journey, '/silent-caught');
  expect(caught).toMatchObject({ status: 418, text: 'mine', headers: { 'x-mine': 'yes' } });
  const thrown = await open(journey, '/silent-only');
  expect(thrown.status).toBe(401);
  for (const { headers } of [caught, thrown]) {
    expect(headers.location).toBeUndefined();
    expect(headers['www-authenticate']).toBeUndefined();
    expect(headers['set-cookie']).toBeUndefined();
  }
  expect((await fetchJson(journey, '/silent-only')).text).not.toContain('loginUrl');
  expect(journey.store.calls).toEqual([]);
  expect(journey.provider.discoveryCalls).toBe(0);
});

test('after getTokenSilent the app may start the login by itself, and comes back', async () => {
  const { app, browser } = await anonymous();
  const url = `${app.url}/silent-login?n=1`;
  expect(await browser.navigate(url)).toMatchObject({ status: 200, url });
});

test('the error says what is needed, is 401, and its stack is one line', async () => {
  const { errors, ...journey } = await anonymous();
  expect((await open(journey, '/both')).status).toBe(302);
  expect(errors).toHaveLength(2);
  for (const error of errors) {
    expect(error).toBeInstanceOf(InteractionRequiredError);
    expect(error).toMatchObject({
      status: 401,
      code: 'ERR_OIDC_INTERACTION_REQUIRED',
      reason: 'signed_out',
      scopes: ['a'],
    });
    expect((error as Error).stack).not.toContain('\n');
  }
});

test.each([200, 204, 302, 304, 399])('an answer of %i is the app’s deliberate fallback', async (status) => {
  const answer = await open(await anonymous(), `/fallback?status=${status}`);
  expect(answer.status).toBe(status);
  expect(answer.headers).toMatchObject({ etag: '"mine"' });
  expect(answer.headers.location).toBeUndefined();
});

test.each([400, 401, 403, 404, 429, 503])('an answer of %i leaves as the challenge', async (status) => {
  const journey = await anonymous();
  const answer = await open(journey, `/fallback?status=${status}`);
  expect(answer).toMatchObject({ status: 302, text: '' });
  expect(answer.headers.etag).toBeUndefined();
  expect((await fetchJson(journey, `/fallback?status=${status}`)).json).toMatchObject({ scopes: ['a'] });
});

test('what the app has answered before the challenge was there stays', async () => {
  const journey = await anonymous();
  expect(await open(journey, '/unawaited')).toMatchObject({ status: 404, text: 'not found' });
  expect(await Promise.all(journey.unawaited)).toMatchObject([{ name: 'InteractionRequiredError' }]);
  expect(await open(journey, '/late')).toMatchObject({ status: 500, text: 'too late' });
  expect((await open(journey, '/')).status).toBe(200);
});
