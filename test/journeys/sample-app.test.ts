import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals';
import type { Page } from 'playwright-core';
import { withChromium } from '../support/chromium.ts';
import { restoreTime, travel } from '../support/time.ts';
import { asked, heading, Sample, textOf } from './sample-app-setup.ts';

jest.setTimeout(60_000); // a browser on a busy machine

withChromium('the sample app in Chromium', () => {
  let sample: Sample;
  let app: string;

  beforeAll(async () => {
    sample = await Sample.start();
    app = sample.app;
  });

  afterEach(restoreTime);

  afterAll(() => sample?.close());

  test('mail, before anybody is signed in: sign-in, two consents, and the visitor is at the mail', async () => {
    await sample.visit(async (page) => {
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
      expect(await textOf(page, 'scopes')).toBe('mail.read');
    });
  });

  test('after the first consent each API is silent, and one does not end the other', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Alice');
      await sample.allow(page, 'mail', ['mail.read']);
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
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Bob');
      await sample.allow(page, 'mail', ['mail.read']);
      await page.getByRole('link', { name: 'Ask the provider for a new one' }).click();
      expect(await textOf(page, 'source')).toMatch(/^the provider/);
      expect(await textOf(page, 'reason')).toBe('you asked for a new one');
      for (let round = 0; round < 3; round++) {
        travel(121);
        await silent(page, 'mail', 'the provider');
        expect(await textOf(page, 'reason')).toContain('expired');
        await silent(page, 'mail', 'the cache');
      }
    });
  });

  test('who does not allow it gets a way back and stays signed in', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Bob');
      await page.goto(`${app}/mail`);
      await page.getByRole('button', { name: 'No, go back' }).click();
      expect(await heading(page)).toBe('You did not allow it');
      await page.getByRole('main').getByRole('link', { name: 'Home' }).click();
      expect(await heading(page)).toBe('Hello, Bob Baker');
    });
  });

  test('the home page leads to every page, and says what the provider has seen', async () => {
    await sample.visit(async (page) => {
      await page.goto(app);
      const links = page.getByRole('listitem').getByRole('link');
      const paths = await links.evaluateAll((all) => all.map((link) => link.getAttribute('href')));
      expect(paths).toEqual([
        '/mail',
        '/calendar',
        '/contacts',
        '/payments',
        '/safe',
        '/nightly',
        '/profile',
      ]);
      await page.getByRole('main').getByRole('link', { name: 'Sign in' }).click();
      expect(await heading(page)).toBe('Who are you today?');
      const seen = await seenFor('bob');
      await sample.signIn(page, 'Bob');
      expect((await seenFor('bob')).authorization_code).toBe((seen.authorization_code ?? 0) + 1);
      expect(await textOf(page, 'grants')).toMatch(/^\d+ sign-ins?/);
    });
  });

  test('the profile shows the account and the claims', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Alice');
      await page.getByRole('link', { name: 'Profile' }).first().click();
      const text = await page.getByRole('main').innerText();
      for (const part of [sample.provider, 'alice', 'Alice Archer', 'alice@example.com'])
        expect(text).toContain(part);
    });
  });

  test('after sign-out nothing is left: not in the app, not at the provider, not behind the Back button', async () => {
    await sample.visit(async (page) => {
      await sample.signIn(page, 'Alice');
      await sample.allow(page, 'mail', ['mail.read']);
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

  /** By the provider, as number of requests by grant type. */
  async function seenFor(who: string): Promise<Record<string, number>> {
    return (await fetch(`${sample.provider}/grants/${who}`)).json() as Promise<Record<string, number>>;
  }

  async function silent(page: Page, api: string, source: string): Promise<void> {
    await sample.silent(page, api);
    expect(await textOf(page, 'source')).toMatch(new RegExp(`^${source}`));
  }
});
