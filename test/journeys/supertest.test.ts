import { afterAll, beforeAll, expect, test } from '@jest/globals';
import request from 'supertest';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';

let provider: TestProvider;
let app: TestApp;

beforeAll(async () => {
  provider = await startProvider();
  app = await startApp({ provider, auth: { scopes: 'openid offline_access a' } });
});

afterAll(async () => {
  await app.close();
  await provider.close();
});

test('a test of an app by supertest: a page is sent to the provider, a client is told', async () => {
  const page = await request(app.server).get('/token?scope=a').accept('text/html').expect(302);
  expect(page.headers.location).toContain(`${provider.issuer}/auth?`);
  const client = await request(app.server).get('/token?scope=a').expect(401);
  expect(client.body).toMatchObject({ error: 'interaction_required', scopes: ['a'] });
  expect(client.headers.location).toBeUndefined();
});

test('a test of an app by supertest: signed in by a browser, the agent carries on with its cookie', async () => {
  const browser = new Browser();
  await browser.login(app);
  const cookie = browser.cookies.list(new URL(app.url).host).map(({ name, value }) => `${name}=${value}`);
  const { body } = await request(app.server)
    .get('/token?scope=a')
    .set('cookie', cookie.join('; '))
    .expect(200);
  expect(body).toMatchObject({ source: 'cache', account: { subject: 'alice' } });
  browser.close();
});
