import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { createLocalProvider } from '../../sample-app/provider.ts';
import { type ApiName, settingsFrom } from '../../sample-app/settings.ts';
import { createWebApi } from '../../sample-app/web-api.ts';
import { createWebApp, type WebApp } from '../../sample-app/web-app.ts';
import { launchChromium, withChromium } from '../support/chromium.ts';
import { restoreTime, travel } from '../support/time.ts';

withChromium('the sample app in Chromium', () => {
  const servers: Server[] = [];
  let browser: Browser;
  let webApp: WebApp;
  let app: string;
  let provider: string;

  beforeAll(async () => {
    const [webPort, providerPort, apiPort] = [await freePort(), await freePort(), await freePort()];
    const settings = settingsFrom({
      PORT: `${webPort}`,
      PROVIDER_PORT: `${providerPort}`,
      API_PORT: `${apiPort}`,
    });
    const { baseUrl, access, rules } = settings;
    const client = { clientId: 'sample-app', clientSecret: randomBytes(32).toString('base64url') };
    app = baseUrl;
    provider = `http://localhost:${providerPort}`;
    const apis = Object.fromEntries(Object.values(rules).map(({ audience, scope }) => [audience, scope]));
    servers.push(
      await listen(
        createLocalProvider({
          issuer: provider,
          client: { ...client, baseUrl },
          apis,
          accessTokenSeconds: 120,
        }),
        providerPort,
      ),
    );
    servers.push(await listen(createWebApi({ issuer: provider, rules }), apiPort));
    webApp = createWebApp({ ...client, issuer: provider, baseUrl, access });
    servers.push(await listen(webApp.app, webPort));
    browser = await launchChromium();
  }, 60_000);

  afterEach(restoreTime);

  afterAll(async () => {
    await browser?.close();
    await webApp?.close();
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  });

  test('mail, before anybody is signed in: sign-in, two consents, and the visitor is at the mail', async () => {
    await visit(async (page) => {
      await page.goto(`${app}/mail?from=a+link`);
      expect(await heading(page)).toBe('Who are you today?');
      await page.getByRole('button', { name: 'Alice' }).click();
      expect(await asked(page)).toEqual(['openid', 'profile', 'email']);
      await page.getByRole('button', { name: 'Allow' }).click();
      expect(await asked(page)).toEqual(['mail.read']);
      await page.getByRole('button', { name: 'Allow' }).click();

      expect(page.url()).toBe(`${app}/mail?from=a+link`);
      expect(await page.getByRole('listitem').allInnerTexts()).toEqual([
        expect.stringContaining('Lunch on Thursday?'),
        expect.stringContaining('Your book is ready'),
        expect.stringContaining('Re: Photos <3'),
      ]);
      expect(await page.locator('#scopes').innerText()).toBe('mail.read');
    });
  });

  test('after the first consent each API is silent, and one does not end the other', async () => {
    await visit(async (page) => {
      await signIn(page, 'Alice');
      await allow(page, 'mail', ['mail.read']);
      await silent(page, 'mail', 'the cache');
      await page.goto(`${app}/calendar`);
      expect(await asked(page)).toEqual(['calendar.read']);
      expect(await page.getByText('You allowed it earlier to read your mail').count()).toBe(1);
      await page.getByRole('button', { name: 'Allow' }).click();
      expect(page.url()).toBe(`${app}/calendar`);
      expect(await page.getByRole('listitem').first().innerText()).toContain('Stand-up');
      await silent(page, 'mail', 'the cache');
      await silent(page, 'calendar', 'the cache');
    });
  });

  test('a refresh by force or because of age is silent, and so is the next one', async () => {
    await visit(async (page) => {
      await signIn(page, 'Bob');
      await allow(page, 'mail', ['mail.read']);
      await page.getByRole('link', { name: 'Ask the provider for a new one' }).click();
      expect(await page.locator('#source').innerText()).toContain('the provider');
      expect(await page.locator('#reason').innerText()).toBe('you asked for a new one');
      for (let round = 0; round < 3; round++) {
        travel(121);
        await silent(page, 'mail', 'the provider');
        expect(await page.locator('#reason').innerText()).toContain('expired');
        await silent(page, 'mail', 'the cache');
      }
    });
  });

  test('who does not allow it gets a way back and stays signed in', async () => {
    await visit(async (page) => {
      await signIn(page, 'Bob');
      await page.goto(`${app}/mail`);
      await page.getByRole('button', { name: 'No, go back' }).click();
      expect(await heading(page)).toBe('You did not allow it');
      await page.getByRole('main').getByRole('link', { name: 'Home' }).click();
      expect(await heading(page)).toBe('Hello, Bob Baker');
    });
  });

  test('the profile shows the account and the claims', async () => {
    await visit(async (page) => {
      await signIn(page, 'Alice');
      await page.getByRole('link', { name: 'Profile' }).first().click();
      const text = await page.getByRole('main').innerText();
      for (const part of [provider, 'alice', 'Alice Archer', 'alice@example.com'])
        expect(text).toContain(part);
    });
  });

  test('after sign-out nothing is left: not in the app, not at the provider, not behind the Back button', async () => {
    await visit(async (page) => {
      await signIn(page, 'Alice');
      await allow(page, 'mail', ['mail.read']);
      await page.getByRole('button', { name: 'Sign out' }).click();
      await page.waitForURL((url) => url.origin === app);
      expect(await heading(page)).toBe('One sign-in, a token for each API');
      await page.goBack();
      await page.waitForLoadState();
      expect(await page.content()).not.toContain('Lunch on Thursday');
      await page.goto(`${app}/mail`);
      expect(await heading(page)).toBe('Who are you today?');
    });
  });

  /** A visitor of their own; the pages may neither break their own Content-Security-Policy nor show a token. */
  async function visit(journey: (page: Page) => Promise<void>): Promise<void> {
    const context = await browser.newContext();
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(`${error}`));
    page.on('console', (message) => {
      const isOfACallback = message.location().url.includes('/callback?error='); // its page is a 400, rightly
      if (message.type() === 'error' && !isOfACallback) complaints.push(`${message.text()} at ${page.url()}`);
    });
    page.on('load', () => {
      page.content().then(
        (content) => /eyJ[\w-]{10}/.test(content) && complaints.push(`a token in ${page.url()}`),
        () => undefined, // the page has gone on already
      );
    });
    try {
      await journey(page);
      expect(complaints).toEqual([]);
    } finally {
      await context.close();
    }
  }

  async function signIn(page: Page, name: string): Promise<void> {
    await page.goto(app);
    await page.getByRole('link', { name: 'Sign in' }).first().click();
    await page.getByRole('button', { name }).click();
    await page.getByRole('button', { name: 'Allow' }).click();
    expect(await heading(page)).toMatch(`Hello, ${name}`);
  }

  async function allow(page: Page, api: ApiName, scopes: string[]): Promise<void> {
    await page.goto(`${app}/${api}`);
    expect(await asked(page)).toEqual(scopes);
    await page.getByRole('button', { name: 'Allow' }).click();
    expect(page.url()).toBe(`${app}/${api}`);
  }

  /** The page comes without the browser going to the provider. */
  async function silent(page: Page, api: ApiName, source: string): Promise<void> {
    const visited: string[] = [];
    const note = (request: { url(): string }) => visited.push(new URL(request.url()).origin);
    page.on('request', note);
    await page.goto(`${app}/${api}`);
    page.off('request', note);
    expect(new Set(visited)).toEqual(new Set([app]));
    expect(await page.locator('#source').innerText()).toContain(source);
  }
});

async function heading(page: Page): Promise<string> {
  return page.getByRole('heading', { level: 1 }).innerText();
}

/** The scopes that the consent page names. */
async function asked(page: Page): Promise<string[]> {
  expect(await heading(page)).toMatch('Is this all right');
  return page.locator('li code').allInnerTexts();
}

async function listen(handler: RequestListener, port = 0): Promise<Server> {
  const server = createServer(handler).listen(port, 'localhost');
  await once(server, 'listening');
  return server;
}

async function freePort(): Promise<number> {
  const server = await listen(() => undefined);
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
