import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { launchChromium, withChromium } from '../support/chromium.ts';
import { closing } from './challenge-setup.ts';
import { type Stage, type StageOptions, stage } from './preserve-post-setup.ts';

withChromium('A24 in Chromium', () => {
  let browser: Browser;

  beforeAll(async () => {
    browser = await launchChromium();
  }, 60_000);

  afterAll(() => browser?.close());

  async function visit(options: StageOptions = {}): Promise<Stage & { page: Page }> {
    const journey = await stage({
      ...options,
      extended: true,
      more: (app) => app.get('/form', (req, res) => void res.send(formPage(`${req.query.enctype ?? ''}`))),
    });
    const context = closing(await browser.newContext());
    return { ...journey, page: await context.newPage() };
  }

  test.each(['/guarded?x=1', '/handled?x=1'])(
    '%s: a form arrives once; a reload asks for its page',
    async (path) => {
      const { page, app, seen } = await visit();
      await page.goto(`${app.url}/form#${path}`);
      await page.getByRole('button').click();
      await page.waitForURL(/oidc_post=/);
      const sent = { method: 'POST', originalUrl: path, user: 'alice', site: 'same-origin', origin: app.url };
      expect(seen).toMatchObject([{ ...sent, body: { text: 'a b\r\né', item: { name: '1' } } }]);
      await page.reload();
      expect(page.url()).toBe(`${app.url}${path}`);
      expect(seen.slice(1)).toMatchObject([{ method: 'GET', originalUrl: path, user: 'alice' }]);
    },
  );

  test('a form with files gets the page that says why', async () => {
    const { page, app, seen } = await visit();
    await page.goto(`${app.url}/form?enctype=multipart/form-data#/guarded`);
    await page.getByRole('button').click();
    await page.getByText('of a kind that is not kept').waitFor();
    expect([page.url(), seen]).toEqual([`${app.url}/guarded`, []]);
  });

  test.each(['localhost', '127.0.0.1'])(
    'an attack by a page at %s on who is signed in: not kept',
    async (host) => {
      const { page, app, seen } = await visit();
      await page.goto(`${app.url}/login`);
      await page.getByText('signed in as alice').waitFor();
      const attacker = closing(createServer((_req, res) => void res.end(formPage(''))));
      attacker.listen(0, host);
      await once(attacker, 'listening');
      const { port } = attacker.address() as AddressInfo;
      await page.goto(`http://${host}:${port}/#${app.url}/handled`);
      await page.getByRole('button').click();
      await page.getByText('What you sent was not processed').waitFor();
      // Who then goes on comes to no page that the attacker chose, and sends nothing.
      await page.getByRole('link').click();
      await page.getByText('signed in as alice').waitFor();
      expect(seen).toEqual([]);
    },
  );
});

/** A form that is sent to where the URL's fragment says. */
function formPage(enctype: string): string {
  return `<!doctype html><meta charset="utf-8"><form method="post" enctype="${enctype}">
<textarea name="text">a b\né</textarea><input name="item[name]" value="1"><button>Send</button></form>
<script>document.forms[0].action = location.hash.slice(1)</script>`;
}
