import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals';
import type { Express } from 'express';
import { InteractionRequiredError, requiresAuth } from 'express-oidc-tokens';
import type { Page } from 'playwright-core';
import { callApi } from '../../sample-app/web-app/call-api.ts';
import { Browser } from '../support/browser.ts';
import { withChromium } from '../support/chromium.ts';
import { restoreTime, travel } from '../support/time.ts';
import { heading, Sample, TOKEN_SECONDS, textOf } from './sample-app-setup.ts';

jest.setTimeout(60_000); // a browser on a busy machine

withChromium('every kind of token, in the sample', () => {
  let sample: Sample;
  let app: string;
  /** No Chromium: cookies and redirects alone. */
  let light: Browser;

  beforeEach(() => {
    light = new Browser();
  });

  beforeAll(async () => {
    sample = await Sample.start(addProbes);
    app = sample.app;
  });

  afterEach(() => {
    light.close();
    restoreTime();
  });

  afterAll(() => sample?.close());

  /** What no page of the sample does, because it must not work. */
  function addProbes(pages: Express): void {
    pages.get('/probe/directory', async (request, response) => {
      const { accessToken } = await request.getToken('contacts');
      const { url } = sample.settings.access.directory!;
      const answer = await fetch(url, { headers: { authorization: `Bearer ${accessToken}` } });
      response.json({ status: answer.status, challenge: answer.headers.get('www-authenticate') });
    });
    pages.get('/probe/statistics', async (request, response) => {
      response.json(await request.getToken(statistics()));
    });
    pages.get('/probe/statistics/silent', async (request, response) => {
      const found = await request.getTokenSilent(statistics()).catch((error: unknown) => error);
      response.json({ needsUser: found instanceof InteractionRequiredError });
    });
    pages.get('/probe/broken', async (request) => {
      const { mail } = sample.settings.access;
      await callApi(request, 'mail', { ...mail!, url: `${mail?.url}/no-such-endpoint` });
    });
    pages.get('/probe/acr', requiresAuth(), (request, response) => {
      response.json({ acr: request.oidc.user?.acr ?? 'none' });
    });
  }

  test.each(['mail', 'calendar', 'contacts', 'payments', 'safe', 'nightly', 'profile'])(
    'nobody is signed in: /%s sends a visitor to the provider, and answers a script with 401',
    async (path) => {
      const page = await light.navigate(`${app}/${path}`);
      expect(page.url).toMatch(`${sample.provider}/interaction/`);
      expect(page.text).toContain('Who are you today?');
      const script = await light.fetchJson(`${app}/${path}`);
      expect(script).toMatchObject({ status: 401, json: { error: 'interaction_required' } });
    },
  );

  test('contacts: the second API knows the user and which client acts; one exchange for each token', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Alice');
      await sample.allow(page, 'contacts', ['contacts.read']);
      expect(await page.getByRole('listitem').allInnerTexts()).toEqual([
        'Bob Baker',
        'Carla Cook',
        'Dave Diver',
      ]);
      const { contacts, directory } = sample.settings.access;
      expect(await table(page)).toEqual([
        ['user', 'alice', 'alice'],
        ['client', 'sample-app', 'sample-api'],
        ['acts for the user', 'nobody', 'sample-api'],
        ['token is for', contacts?.resource, directory?.resource],
        ['scope', 'contacts.read', 'directory.read'],
      ]);
      expect(await textOf(page, 'source')).toMatch(/^the provider/);
      expect(await textOf(page, 'grants')).toContain('1 exchange');

      await sample.silent(page, 'contacts');
      expect(await textOf(page, 'source')).toMatch(/^the cache/);
      expect(await textOf(page, 'grants')).toContain('1 exchange');
      travel(TOKEN_SECONDS + 1);
      await sample.silent(page, 'contacts');
      expect(await textOf(page, 'source')).toMatch(/^the provider/);
      expect(await textOf(page, 'grants')).toContain('2 exchanges');
    });
  });

  test('the directory does not take the token of the first API', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Bob');
      await sample.allow(page, 'contacts', ['contacts.read']);
      expect(await table(page)).toContainEqual(['user', 'bob', 'bob']);
      const refused = { status: 401, challenge: expect.stringContaining('error="invalid_token"') };
      expect((await asScript(page, 'probe/directory')).json).toEqual(refused);
    });
  });

  test('payments: the API wants a second factor; no is a way back, yes shows them, once', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Alice');
      await sample.allow(page, 'payments', ['payments.read']);
      expect(await heading(page)).toBe('Is it really you, Alice?');
      await page.getByRole('button', { name: 'No, go back' }).click();
      expect(await heading(page)).toBe('You did not allow it');
      expect(await asScript(page, 'payments')).toMatchObject({ status: 401 });
      expect((await asScript(page, 'probe/acr')).json).toEqual({ acr: 'none' });

      await page.goto(`${app}/payments`);
      await page.getByRole('button', { name: 'Yes, it is me' }).click();
      expect(page.url()).toBe(`${app}/payments`);
      expect(await page.getByRole('listitem').first().innerText()).toContain('Noodle place');
      expect(await textOf(page, 'acr')).toBe('second-factor');
      travel(TOKEN_SECONDS + 1); // the refreshed token is still one of that sign-in
      await sample.silent(page, 'payments');
      expect(await page.getByRole('listitem').count()).toBe(2);
    });
  });

  test('the safe: closed without a second factor, open with it, and closed again after a while', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Alice');
      expect(await asScript(page, 'safe')).toMatchObject({ status: 401 });
      await openSafe(page);
      await sample.silent(page, 'safe');
      expect(await heading(page)).toBe('The safe is open');

      travel(200);
      expect(await asScript(page, 'safe')).toMatchObject({ status: 401 });
      await sample.silent(page, 'profile'); // that alone asks nobody anything
      await openSafe(page);
      expect(Number.parseInt(await textOf(page, 'age'), 10)).toBeLessThan(60);
    });
  });

  test('the nightly job works with a token of the app, which is in no user’s cache', async () => {
    await sample.visit(async (page) => {
      expect((await page.request.post(`${app}/nightly`)).status()).toBe(401);
      await sample.signIn(page, 'Bob');
      await sample.silent(page, 'nightly');
      expect(await textOf(page, 'none')).toBe('It has not run yet.');

      expect(await runNightly(page)).toMatch(
        /alice: 3, bob: 2\s+A token of sample-app from the provider: the cache had none/,
      );
      expect(await textOf(page, 'grants')).toBe('1 app token');
      expect(await runNightly(page)).toMatch(/sample-app from the cache: it is still good/);
      expect(await textOf(page, 'grants')).toBe('1 app token');
      travel(TOKEN_SECONDS + 1);
      expect(await runNightly(page)).toMatch(/sample-app from the provider/);
      expect(await textOf(page, 'grants')).toBe('2 app tokens');

      expect((await asScript(page, 'probe/statistics/silent')).json).toEqual({ needsUser: true });
      await page.goto(`${app}/probe/statistics`);
      expect(await heading(page)).toBe('The sign-in was not completed'); // no user gets one by asking, either
    });
  });

  function statistics() {
    const { scopes, resource } = sample.settings.access.statistics!;
    return { scopes, resource: resource! };
  }

  test('an API that fails: a page that says so, and the reason in the log', async () => {
    const log = jest.spyOn(console, 'error').mockImplementation(() => undefined);
    let page = await light.navigate(`${app}/probe/broken`);
    page = await light.submit(page, { user: 'alice' });
    while (page.text.includes('Is this all right')) page = await light.submit(page);
    expect(page.status).toBe(502);
    expect(page.text).toContain('<h1>The API did not give an answer</h1>');
    expect(page.text).toContain('/no-such-endpoint answered 404.');
    expect(log).toHaveBeenCalledWith('web app:', expect.objectContaining({ status: 502 }));
    log.mockRestore();
  });

  async function openSafe(page: Page): Promise<void> {
    await page.goto(`${app}/safe`);
    expect(await heading(page)).toBe('Is it really you, Alice?');
    await page.getByRole('button', { name: 'Yes, it is me' }).click();
    expect(await heading(page)).toBe('The safe is open');
    expect(await textOf(page, 'acr')).toBe('second-factor');
  }

  /** The newest run. */
  async function runNightly(page: Page): Promise<string> {
    await page.getByRole('button', { name: 'Run it now' }).click();
    return page.locator('#runs li').first().innerText();
  }

  async function table(page: Page): Promise<(string | undefined)[][]> {
    const rows = await page.getByRole('row').all();
    return Promise.all(rows.slice(1).map((row) => row.locator('th, td').allInnerTexts()));
  }

  /** With the visitor's cookies, but as no navigation: what a `fetch()` gets. */
  async function asScript(page: Page, path: string) {
    const answer = await page.request.get(`${app}/${path}`);
    return { status: answer.status(), json: await answer.json() };
  }
});
