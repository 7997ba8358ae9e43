import { describe, expect, test } from '@jest/globals';
import { countingStore } from '../support/stores.ts';
import { travel } from '../support/time.ts';
import { sendRaw } from './attacks-support.ts';
import { LOGIN_AB } from './challenge-setup.ts';
import { FORM_TYPE, kept, page, post, type StageOptions, stage } from './preserve-post-setup.ts';

const NESTED = 'item%5Bname%5D=a+b&item%5Btags%5D%5B%5D=x&item%5Btags%5D%5B%5D=y&plain=%C3%A9&same=1&same=2';
const AS_NESTED = { item: { name: 'a b', tags: ['x', 'y'] }, plain: 'é', same: ['1', '2'] };
const AS_FLAT = { 'item[name]': 'a b', 'item[tags][]': ['x', 'y'], plain: 'é', same: ['1', '2'] };

describe.each([4, 5] as const)('A24: Express %i', (express) => {
  const cases = (['before', 'after', 'guarded'] as const).flatMap((parser) => [
    [parser, true, AS_NESTED] as const,
    [parser, false, AS_FLAT] as const,
  ]);

  test.each(cases)(
    'the body arrives once after the callback; parser %s auth(), extended: %s',
    async (parser, extended, body) => {
      const journey = await stage({ express, parser, extended });
      for (const path of ['/guarded', '/tokened', '/handled']) {
        journey.seen.splice(0);
        const sent = await post(journey, `${path}?x=1&y=%20`, NESTED);
        expect(sent.status).toBe(200);
        expect(journey.seen).toEqual([
          {
            method: 'POST',
            originalUrl: `${path}?x=1&y=%20`,
            url: `${path}?x=1&y=%20`,
            query: { x: '1', y: ' ' },
            body,
            type: FORM_TYPE,
            site: 'same-origin',
            origin: journey.app.url,
            referer: `${journey.app.url}/`,
            user: 'alice',
          },
        ]);
        const statuses = sent.hops.map(({ method, status }) => `${method} ${status}`);
        expect([statuses[0], statuses.at(-1)]).toEqual(['POST 303', 'GET 200']);
        expect(sent.headers['cache-control']).toBe('no-store');
        journey.browser.cookies.clear();
      }
    },
  );

  test('a handler reads an unread body from the stream, as it was sent', async () => {
    const read: Buffer[] = [];
    const journey = await stage({
      express,
      parser: 'none',
      more: (app) =>
        app.post('/raw', (req, res, next) => {
          const readAll = async () => {
            await req.getToken('a');
            for await (const chunk of req) read.push(chunk as Buffer);
            res.json(req.is('urlencoded'));
          };
          readAll().catch(next);
        }),
    });
    expect(await post(journey, '/raw', NESTED)).toMatchObject({ status: 200, text: '"urlencoded"' });
    expect(Buffer.concat(read).toString()).toBe(NESTED);
  });
});

/** A GET of the id after the first, and at what it is used. */
async function spent(options: StageOptions = {}) {
  const journey = await stage(options);
  const { url, id } = await kept(journey, '/guarded?x=1');
  const clean = `${journey.app.url}/guarded?x=1`;
  return { ...journey, url, id, clean, location: { status: 302, headers: { location: '/guarded?x=1' } } };
}

describe('A24: once, for this browser, at this URL', () => {
  test('a second use goes to the clean URL by GET', async () => {
    const journey = await spent();
    expect(await page(journey, journey.url)).toMatchObject({ status: 200 });
    expect(await page(journey, journey.url)).toMatchObject(journey.location);
    expect(journey.seen).toHaveLength(1);
    await journey.browser.navigate(journey.url);
    expect(journey.seen.map(({ method, originalUrl }) => `${method} ${originalUrl}`)).toEqual([
      'POST /guarded?x=1',
      'GET /guarded?x=1',
    ]);
  });

  test('ten at once: one of them', async () => {
    const journey = await spent();
    const answers = await Promise.all(Array.from({ length: 10 }, () => page(journey, journey.url)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(9).fill(302)]);
    expect(journey.seen).toHaveLength(1);
  });

  test('expired: the clean URL', async () => {
    const journey = await spent();
    travel(901);
    expect(await page(journey, journey.url)).toMatchObject(journey.location);
    expect(journey.seen).toEqual([]);
  });

  test('fourteen minutes are not too long', async () => {
    const journey = await spent();
    travel(840);
    expect(await page(journey, journey.url)).toMatchObject({ status: 200 });
    expect(journey.seen).toHaveLength(1);
  });

  test.each([
    ['unknown', () => 'A'.repeat(32)],
    ['empty', () => ''],
    ['tampered with', (id: string) => `${id.slice(0, -1)}${id.endsWith('A') ? 'B' : 'A'}`],
    ['with more behind it', (id: string) => `${id}A`],
    ['encoded twice', (id: string) => `%25${id}`],
  ])('an id that is %s: the clean URL, and the right one still works', async (_name, change) => {
    const journey = await spent();
    const wrong = journey.url.replace(journey.id, change(journey.id));
    expect(await page(journey, wrong)).toMatchObject(journey.location);
    expect(journey.seen).toEqual([]);
    expect(await page(journey, journey.url)).toMatchObject({ status: 200 });
  });

  test.each([
    ['/tokened?x=1', '/tokened?x=1'],
    ['/guarded?x=2', '/guarded?x=2'],
    ['/guarded', '/guarded'],
    ['/guarded?x=1&y=2', '/guarded?x=1&y=2'],
  ])('at %s, not where it was sent: that URL by GET', async (path, location) => {
    const journey = await spent();
    const url = `${journey.app.url}${path}${path.includes('?') ? '&' : '?'}oidc_post=${journey.id}`;
    expect(await page(journey, url)).toMatchObject({ status: 302, headers: { location } });
    expect(journey.seen).toEqual([]);
    expect(await page(journey, journey.url)).toMatchObject({ status: 200 });
  });

  test.each([
    ['HEAD', 'HEAD', {}],
    ['a script', 'GET', { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }],
    ['a frame', 'GET', { 'sec-fetch-dest': 'iframe' }],
    ['a prefetch', 'GET', { 'sec-purpose': 'prefetch' }],
  ])('%s replays and spends nothing', async (_name, method, headers) => {
    const journey = await spent();
    expect(await page(journey, journey.url, method, headers)).toMatchObject(journey.location);
    expect(journey.seen).toEqual([]);
    expect(await page(journey, journey.url)).toMatchObject({ status: 200 });
  });

  test('what only the GET says is not the POST’s: its length, where it comes from', async () => {
    const { browser, app, seen, ...journey } = await stage();
    const headers = { accept: 'text/html' };
    const sent = await browser.request(`${app.url}/guarded`, { method: 'POST', headers, body: { n: '1' } });
    const stopAt = (url: URL) => url.searchParams.has('oidc_post');
    const { held } = await browser.navigate(sent.headers.location ?? '', { stopAt });
    const get = { 'content-length': '0', 'sec-fetch-site': 'cross-site', referer: journey.provider.issuer };
    await page({ browser }, held?.url ?? '', 'GET', get);
    expect(seen).toMatchObject([{ body: { n: '1' }, site: undefined, referer: undefined, type: FORM_TYPE }]);
  });

  test('a form of the answered page is sent to the same address: the app does not see the id', async () => {
    const journey = await spent();
    await page(journey, journey.url);
    await post(journey, journey.url.slice(journey.app.url.length), { n: '2' });
    expect(
      journey.seen.map(({ originalUrl, url, query, body }) => ({ originalUrl, url, query, body })),
    ).toEqual(
      ['1', '2'].map((n) => ({
        originalUrl: '/guarded?x=1',
        url: '/guarded?x=1',
        query: { x: '1' },
        body: { n },
      })),
    );
  });
});

describe('A24: not kept, and said so', () => {
  const LARGE = `n=${'x'.repeat(64 * 1024)}`;
  const MULTIPART = 'multipart/form-data; boundary=b';
  const rows: [
    string,
    Parameters<typeof post>[2],
    { method?: string; headers?: Record<string, string> },
    RegExp,
  ][] = [
    ['too large', LARGE, {}, /too large/],
    ['multipart', '--b--', { headers: { 'content-type': MULTIPART } }, /of a kind that is not kept/],
    ['JSON', '{}', { headers: { 'content-type': 'application/json' } }, /of a kind that is not kept/],
    ['text', 'n=1', { headers: { 'content-type': 'text/plain' } }, /of a kind that is not kept/],
    ['a type that begins like it', 'n=1', { headers: { 'content-type': `${FORM_TYPE}2` } }, /of a kind that/],
    ['PUT', { n: '1' }, { method: 'PUT' }, /of a kind that is not kept/],
    ['compressed', 'n=1', { headers: { 'content-encoding': 'gzip' } }, /of a kind that is not kept/],
  ];

  test.each(rows)('%s → 401 page with the reason; nothing stored', async (_name, body, init, reason) => {
    for (const parser of ['guarded', 'none'] as const) {
      const store = countingStore();
      const journey = await stage({ parser, store });
      for (const path of ['/guarded', '/tokened', '/handled']) {
        const answer = await post(journey, path, body, init);
        expect(answer.status).toBe(401);
        expect(answer.text).toMatch(reason);
        expect(answer.text).toContain('Sign in, then send it again.');
      }
      expect(store.calls).toEqual([]);
      expect(journey.seen).toEqual([]);
    }
  });

  test('64 KiB are kept, one byte more is not; read by the app or not', async () => {
    for (const parser of ['before', 'guarded'] as const) {
      const journey = await stage({ parser });
      const value = 'x'.repeat(64 * 1024 - 'n='.length);
      expect((await post(journey, '/guarded', `n=${value}`)).status).toBe(200);
      expect(journey.seen).toMatchObject([{ body: { n: value } }]);
      journey.browser.cookies.clear();
      const answer = await post(journey, '/guarded', `n=${value}x`);
      expect([answer.status, /too large/.test(answer.text)]).toEqual([401, true]);
    }
  });

  test('without the option: the page as before, and the parameter is the app’s own', async () => {
    const store = countingStore();
    const journey = await stage({ store, auth: { preservePost: false } });
    const answer = await post(journey, '/guarded', { n: '1' });
    expect(answer.status).toBe(401);
    expect(answer.text).not.toMatch(/kept/);
    expect(store.calls).toEqual([]);
    const own = await stage({ signedIn: true, auth: { preservePost: false } });
    await page(own, `${own.app.url}/guarded?oidc_post=mine`);
    expect(own.seen).toMatchObject([{ method: 'GET', query: { oidc_post: 'mine' } }]);
  });

  test('a URL that one cannot come back to: the page, rather than the body sent to the home page', async () => {
    const journey = await stage({ more: (app, record) => app.post('/', record) });
    const answer = await post(journey, `/guarded?x=${'x'.repeat(5000)}`, { n: '1' });
    expect(answer.status).toBe(401);
    expect(journey.seen).toEqual([]);
  });

  test('action="?" is the URL without it', async () => {
    const { app } = await stage();
    const head = [
      'POST /guarded? HTTP/1.1',
      'Host: app.example',
      'Accept: text/html',
      `Content-Type: ${FORM_TYPE}`,
    ];
    const request = [...head, 'Content-Length: 3', 'Connection: close', '', 'n=1'];
    expect((await sendRaw(app, request.join('\r\n'))).status).toBe(303);
  });
});

test('A24: who is signed in and has the token is asked nothing, and the body stays where it is', async () => {
  const journey = await stage({ signedIn: true, auth: { scopes: LOGIN_AB } });
  for (const path of ['/guarded', '/tokened', '/handled']) await post(journey, path, { n: path });
  expect(journey.seen.map(({ body }) => body)).toEqual(
    ['/guarded', '/tokened', '/handled'].map((n) => ({ n })),
  );
});
