import { describe, expect, test } from '@jest/globals';
import { requiresAuth } from 'express-oidc-tokens';
import { refusalOf } from '../../src/express/preserved-post.ts';
import { Browser, type NavigateInit } from '../support/browser.ts';
import { countingStore } from '../support/stores.ts';
import { EVIL, sendRaw } from './attacks-support.ts';
import { closing } from './challenge-setup.ts';
import { FORM_TYPE, kept, page, post, type StageOptions, stage } from './preserve-post-setup.ts';
import { storeText } from './session-support.ts';

const SECRET = 'transfer-to-account-4711';

describe('A24, an attack: another site posts a form into the victim’s session', () => {
  const from: [string, NavigateInit][] = [
    ['another site', { from: `${EVIL}/` }],
    ['a sibling of the app', { headers: { 'sec-fetch-site': 'same-site' } }],
    ['nobody, as the browser says', { headers: { 'sec-fetch-site': 'none' } }],
    ['two sites at once', { headers: { 'sec-fetch-site': 'same-origin, cross-site' } }],
  ];

  test.each(from)('by %s: never kept, so never replayed', async (_name, init) => {
    const store = countingStore();
    const journey = await stage({ store });
    for (const path of ['/guarded', '/tokened', '/handled']) {
      const answer = await post(journey, path, { to: SECRET }, init);
      expect(answer.status).toBe(401);
      expect(answer.headers.location).toBeUndefined();
      expect(answer.text).toContain('What you sent was not processed');
    }
    expect(store.calls).toEqual([]);
    await journey.browser.login(journey.app, '/guarded');
    expect(journey.seen).toMatchObject([{ method: 'GET' }]);
  });

  test('who is signed in with a cookie that goes everywhere, and needs a new scope: neither', async () => {
    const journey = await stage({ signedIn: true });
    const headers = { 'sec-fetch-site': 'cross-site', origin: EVIL };
    const answer = await post(journey, '/handled', { to: SECRET }, { headers });
    expect(answer.status).toBe(401);
    expect(storeText(journey.app.store).includes('oidc.tx.post.')).toBe(false);
    expect((await post(journey, '/handled', { to: SECRET })).status).toBe(200);
    expect(journey.seen).toHaveLength(1);
  });

  test('of a browser that does not say Sec-Fetch-Site, the Origin decides', async () => {
    const journey = await stage();
    const sent = (origin?: string) =>
      page(journey, `${journey.app.url}/guarded`, 'POST', {
        'content-type': FORM_TYPE,
        'content-length': '0',
        ...(origin === undefined ? {} : { origin }),
      });
    const { port } = new URL(journey.app.url);
    const others = [EVIL, 'null', '', journey.app.url.replace('http:', 'https:'), `http://localhost:${port}`];
    for (const origin of others) expect((await sent(origin)).status).toBe(401);
    expect((await sent(journey.app.url)).status).toBe(303);
    expect((await sent()).status).toBe(303);
  });

  test('an Origin that fits does not outweigh what Sec-Fetch-Site says', () => {
    const headers = { 'content-type': FORM_TYPE, origin: 'https://app.example' };
    const refusal = (site: string) =>
      refusalOf('POST', { ...headers, 'sec-fetch-site': site }, 'https://app.example');
    expect(refusal('cross-site')).toBe('other');
    expect(refusal('same-origin')).toBeUndefined();
  });

  test('a link of another site with an id that it knows or guesses replays nothing of its own', async () => {
    const journey = await stage({ signedIn: true });
    const attacker = { ...journey, browser: closing(new Browser({ account: 'mallory' })) };
    const { url } = await kept(attacker, '/guarded', { to: SECRET });
    const victim = await journey.browser.navigate(url, { from: `${EVIL}/` });
    expect(victim.url).toBe(`${journey.app.url}/guarded`);
    expect(journey.seen).toMatchObject([{ method: 'GET', user: 'alice' }]);
    expect(journey.seen[0]?.body).not.toEqual({ to: SECRET });
    // And what the foreign browser did cost its owner nothing.
    await attacker.browser.navigate(url);
    expect(journey.seen).toMatchObject([{}, { method: 'POST', user: 'mallory', body: { to: SECRET } }]);
  });

  test.each(['//evil.example/', '/\\evil.example/', '/%2f%2fevil.example/', '//evil.example/a?b=1&'])(
    'the redirect to the clean URL of %s stays in the app',
    async (path) => {
      const journey = await stage({ signedIn: true });
      const target = `${path}${path.includes('?') ? '' : '?'}oidc_post=A`;
      const { status, headers } = await sendRaw(
        journey.app,
        `GET ${target} HTTP/1.1\r\nHost: app.example\r\nAccept: text/html\r\nConnection: close\r\n\r\n`,
      );
      expect(status).toBe(302);
      expect(new URL(headers.location ?? '', journey.app.url).origin).toBe(journey.app.url);
      expect(headers.location).not.toMatch(/^[/\\]{2}|%2f%2f/i);
    },
  );
});

describe('A24: the account', () => {
  const options: StageOptions = {
    signedIn: true,
    more: (app, record) => app.all('/strong', requiresAuth({ acr: 'mfa' }), record),
  };

  test('another account signs in on the way: not replayed, not later either', async () => {
    const journey = await stage(options);
    journey.provider.nextLogin = 'bob';
    const { held } = await post(
      journey,
      '/handled',
      { to: SECRET },
      {
        stopAt: (url) => url.searchParams.has('oidc_post'),
      },
    );
    expect(held).toBeDefined();
    const answer = await page(journey, held!.url);
    expect(answer).toMatchObject({ status: 302, headers: { location: '/handled' } });
    journey.provider.nextLogin = 'alice';
    await journey.browser.login(journey.app, '/');
    expect((await page(journey, held!.url)).status).toBe(302);
    expect(journey.seen).toEqual([]);
  });

  test('a logout before the replay: not replayed', async () => {
    const journey = await stage(options);
    const { url } = await kept(journey, '/handled', { to: SECRET });
    await journey.browser.request(`${journey.app.url}/logout`, { method: 'POST' });
    expect(await page(journey, url)).toMatchObject({ status: 302, headers: { location: '/handled' } });
    await journey.browser.login(journey.app, '/');
    expect((await page(journey, url)).status).toBe(302);
    expect(journey.seen).toEqual([]);
  });

  test('the same account: replayed', async () => {
    const journey = await stage(options);
    await post(journey, '/strong', { to: SECRET });
    expect(journey.seen).toMatchObject([{ method: 'POST', user: 'alice', body: { to: SECRET } }]);
  });

  test('nobody was signed in: whoever signs in sends it', async () => {
    const journey = await stage();
    journey.provider.nextLogin = 'bob';
    await post(journey, '/guarded', { to: SECRET });
    expect(journey.seen).toMatchObject([{ method: 'POST', user: 'bob', body: { to: SECRET } }]);
  });
});

describe('A24: where the body is not', () => {
  test('in the store only sealed; in no URL, no log; the record is gone after its use', async () => {
    const journey = await stage();
    const left = await post(
      journey,
      '/guarded',
      { to: SECRET },
      {
        stopAt: (url) => url.origin === journey.provider.issuer,
      },
    );
    const stored = storeText(journey.app.store);
    expect([stored.includes('oidc.tx.post.'), stored.includes(SECRET)]).toEqual([true, false]);
    const sent = await journey.browser.navigate(left.held!);
    expect(journey.seen).toMatchObject([{ body: { to: SECRET } }]);
    const urls = [...left.hops, ...sent.hops].map(({ url, location }) => `${url} ${location}`).join('\n');
    expect(urls).not.toContain(SECRET);
    expect(journey.app.logText()).not.toContain(SECRET);
    expect(storeText(journey.app.store).includes('oidc.tx.post.')).toBe(false);
    // The provider does not see the id, nor does the store hold it.
    const id = new URL(sent.hops.at(-1)?.url ?? '').searchParams.get('oidc_post') ?? '';
    expect(Buffer.from(id, 'base64url').length).toBeGreaterThanOrEqual(16);
    expect(stored.includes(id)).toBe(false);
    const atProvider = [...left.hops, ...sent.hops].filter(({ url }) =>
      url.startsWith(journey.provider.issuer),
    );
    expect(atProvider.map(({ url }) => url).join('\n')).not.toContain(id);
  });

  test('damaged in the store: the clean URL, and no error', async () => {
    const journey = await stage();
    const { url } = await kept(journey, '/guarded');
    const { sessions } = journey.app.store as unknown as { sessions: Record<string, string> };
    const record = Object.keys(sessions).find((id) => id.startsWith('oidc.tx.post.')) ?? '';
    sessions[record] = String(sessions[record]).replace(/(payload":"[^"]{60})./, '$1~');
    expect(await page(journey, url)).toMatchObject({ status: 302, headers: { location: '/guarded' } });
  });

  test('denied at the provider: not replayed, and still there is nothing in the error page', async () => {
    const journey = await stage({ provider: { consent: 'ask' } });
    const denier = { ...journey, browser: closing(new Browser({ consent: 'deny' })) };
    const answer = await post(denier, '/guarded', { to: SECRET });
    expect(answer.status).toBe(400);
    expect(answer.text).not.toContain(SECRET);
    expect(journey.seen).toEqual([]);
  });
});
