import '../support/quiet.ts';

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { listen, type Stop, stopAll, stopListening } from '../../sample-app/listen.ts';
import { startServers } from '../../sample-app/servers.ts';
import { type Settings, settingsFrom } from '../../sample-app/settings.ts';
import { createWebApp, type WebAppOptions } from '../../sample-app/web-app/app.ts';
import { launchChromium } from '../support/chromium.ts';

export const TOKEN_SECONDS = 120;

/** All servers of the sample, as `npm start` starts them, on free ports, and a Chromium to visit them with. */
export class Sample {
  readonly settings: Settings;
  readonly app: string;
  readonly provider: string;
  readonly #browser: Browser;
  readonly #started: Stop[];

  private constructor(settings: Settings, browser: Browser, started: Stop[]) {
    this.settings = settings;
    this.app = settings.baseUrl;
    this.provider = `http://localhost:${settings.providerPort}`;
    this.#browser = browser;
    this.#started = started;
  }

  static async start(addPages?: WebAppOptions['addPages']): Promise<Sample> {
    const started: Stop[] = [];
    try {
      const browser = await launchChromium();
      started.push(() => browser.close());
      const settings = settingsFrom(await freePorts());
      await startWebApp(settings, started, addPages ? { addPages } : {});
      return new Sample(settings, browser, started);
    } catch (error) {
      await stopAll(started);
      throw error;
    }
  }

  close(): Promise<void> {
    return stopAll(this.#started);
  }

  /** A visitor of their own; the pages may neither break their own Content-Security-Policy nor show a token. */
  async visit(journey: (page: Page) => Promise<void>): Promise<void> {
    const context = await this.#browser.newContext();
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

  async signIn(page: Page, name: string): Promise<void> {
    await page.goto(`${this.app}/login`);
    await page.getByRole('button', { name }).click();
    await page.getByRole('button', { name: 'Allow' }).click();
    expect(await heading(page)).toMatch(`Hello, ${name}`);
  }

  /** The first visit to a page that needs a consent. */
  async allow(page: Page, path: string, scopes: string[]): Promise<void> {
    await page.goto(`${this.app}/${path}`);
    expect(await asked(page)).toEqual(scopes);
    await page.getByRole('button', { name: 'Allow' }).click();
  }

  /** The page comes without the browser going to the provider. */
  async silent(page: Page, path: string): Promise<void> {
    const visited: string[] = [];
    const note = (request: { url(): string }) => visited.push(new URL(request.url()).origin);
    page.on('request', note);
    await page.goto(`${this.app}/${path}`);
    page.off('request', note);
    expect(new Set(visited)).toEqual(new Set([this.app]));
  }
}

/** The web app and all that it talks to. */
async function startWebApp(
  settings: Settings,
  started: Stop[],
  options: Pick<WebAppOptions, 'addPages'>,
): Promise<void> {
  const { baseUrl, access, stepUpAcr, webPort } = settings;
  const { issuer, client } = await startServers(settings, started, TOKEN_SECONDS);
  const webApp = createWebApp({
    ...client,
    issuer,
    baseUrl,
    access,
    stepUpAcr,
    grantsUrl: `${issuer}/grants`,
    nightlyEverySeconds: 3600, // by its button only
    ...options,
  });
  started.push(webApp.close);
  const server = await listen(webApp.app, { port: webPort, what: 'the web app', variable: 'PORT' });
  started.push(() => stopListening(server));
}

export async function heading(page: Page): Promise<string> {
  return page.getByRole('heading', { level: 1 }).innerText();
}

export async function textOf(page: Page, id: string): Promise<string> {
  return page.locator(`#${id}`).innerText();
}

/** The scopes that the consent page names. */
export async function asked(page: Page): Promise<string[]> {
  expect(await heading(page)).toMatch('Is this all right');
  return page.locator('li code').allInnerTexts();
}

/** The environment that puts each server of the sample on a port that nobody has. */
export async function freePorts(): Promise<Record<string, string>> {
  const names = ['PORT', 'PROVIDER_PORT', 'API_PORT', 'DIRECTORY_PORT'];
  const servers = names.map(() => createServer().listen(0, 'localhost'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => `${(server.address() as AddressInfo).port}`);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return Object.fromEntries(names.map((name, index) => [name, ports[index] as string]));
}
