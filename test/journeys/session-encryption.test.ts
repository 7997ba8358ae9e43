import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { TestApp } from '../support/app.ts';
import type { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import type { TestProvider } from '../support/provider.ts';
import { travel } from '../support/time.ts';
import {
  atCallback,
  closeAll,
  copySession,
  expectAlive,
  openApp,
  openBrowser,
  openProvider,
  providerHop,
  putRecord,
  putText,
  records,
  sessionId,
  signedIn,
  silent,
  storeText,
  tokenCaches,
  whoIs,
} from './session-support.ts';

afterEach(closeAll);

const newKey = (kid: string) => ({ kid, key: randomBytes(32) });

/** The one token cache in the store of an app. */
function cacheOf(app: TestApp) {
  const [entry] = tokenCaches(app.store);
  if (!entry || tokenCaches(app.store).size > 1) throw new Error('not one token cache');
  return { id: entry[0], ...entry[1] };
}

/** A page that needs a token sends the user to the provider, gives no token, and works after that. */
async function expectChallenged(browser: Browser, app: TestApp, provider: TestProvider, subject = 'alice') {
  provider.clearCalls();
  const held = await browser.navigate(`${app.url}/token`, { stopAt: atCallback });
  expect(held.hops[0]).toMatchObject({ status: 302 });
  expect(providerHop(held, provider)).toBeDefined();
  expect(await silent(browser, app)).toMatchObject({ name: 'InteractionRequiredError', status: 401 });
  // Least of all the refresh token of somebody else, or of yesterday.
  expect(provider.tokenCalls).toEqual([]);
  const page = await browser.navigate(held.held!);
  expect(page.url).toBe(`${app.url}/token`);
  expect(JSON.parse(page.text)).toMatchObject({ accessToken: expect.any(String), account: { subject } });
  await expectAlive(browser, app);
}

describe('A27: what lies in the store', () => {
  test('A27: no token, code or verifier, at any time of a session', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = openBrowser();
    const seen: string[] = [];
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    seen.push(storeText(app.store));
    await browser.navigate(held!);
    seen.push(storeText(app.store));
    await silent(browser, app, 'scope=a');
    travel(3601);
    await silent(browser, app);
    seen.push(storeText(app.store));
    expect(tokenCaches(app.store).size).toBe(1);
    expectNoSecrets(seen.join('\n'), provider);
    await browser.navigate(`${app.url}/logout`);
    expectNoSecrets(storeText(app.store), provider);
  });

  test('A27: unencrypted, as the app asked, all of it is there to be found', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { allowUnencryptedTokens: true } });
    const browser = openBrowser();
    const { held } = await browser.login(app, '/', { stopAt: atCallback });
    const pending = storeText(app.store);
    await browser.navigate(held!);
    expect(() => expectNoSecrets(pending, provider)).toThrow('code_verifier');
    for (const kind of ['access_token', 'refresh_token', 'id_token'])
      expect(() => expectNoSecrets(storeText(app.store), provider)).toThrow(kind);
    await expectAlive(browser, app);
  });

  test('A27: without a configured key a warning says so once, and the store holds no token either', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { env: { OIDC_ENCRYPTION_KEYS: undefined } });
    await signedIn(app);
    await signedIn(app);
    expect(app.logs.filter(({ message }) => message.includes('OIDC_ENCRYPTION_KEYS'))).toHaveLength(1);
    expectNoSecrets(storeText(app.store), provider);
    expectNoSecrets(app.logText(), provider);
  });
});

describe('A27: keys rotate', () => {
  test('A27: a cache under the old key is read, written under the new one, and survives the old one', async () => {
    const provider = await openProvider();
    const [old, fresh, foreign] = [newKey('old'), newKey('new'), newKey('foreign')];
    const open = (encryptionKeys: (typeof old)[], store?: TestApp['store']) =>
      openApp(provider, { auth: { encryptionKeys }, ...(store ? { store } : {}) });
    const first = await open([old]);
    const browser = await signedIn(first);
    const { accessToken } = await silent(browser, first);
    const kidOf = () => Buffer.from(cacheOf(first).payload.split('.')[1] ?? '', 'base64url').toString();
    expect(kidOf()).toBe('old');

    const both = await open([fresh, old], first.store);
    copySession({ browser, app: first }, { browser, app: both });
    expect(await silent(browser, both)).toMatchObject({ source: 'cache', accessToken });
    expect(kidOf()).toBe('old');
    await expectAlive(browser, both);
    expect(kidOf()).toBe('new');

    const after = await open([fresh], first.store);
    copySession({ browser, app: first }, { browser, app: after });
    expect(await silent(browser, after)).toMatchObject({ source: 'cache' });
    await expectAlive(browser, after);

    const other = await open([foreign], first.store);
    copySession({ browser, app: first }, { browser, app: other });
    expect(await whoIs(browser, other)).toBe('signed in as alice');
    expect(await silent(browser, other)).toMatchObject({ reason: 'no_token_cache' });
  });

  test('A27: a login that began under the old key ends under the new one', async () => {
    const provider = await openProvider();
    const [old, fresh] = [newKey('old'), newKey('new')];
    const first = await openApp(provider, { auth: { encryptionKeys: [old] } });
    const auth = { encryptionKeys: [fresh, old], baseUrl: first.url };
    const second = await openApp(provider, { auth, store: first.store });
    const browser = openBrowser({ account: 'alice' });
    const { held } = await browser.login(first, '/user', { stopAt: atCallback });
    copySession({ browser, app: first }, { browser, app: second });
    const page = await browser.navigate(held!.url.replace(first.url, second.url));
    expect(page).toMatchObject({ url: `${second.url}/user`, text: expect.stringContaining('alice') });
    expect(provider.authorizations).toHaveLength(1);
    await expectAlive(browser, second);
  });

  test('A27: another key of the same name is another key', async () => {
    const provider = await openProvider();
    const first = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(first, { account: 'alice' });
    const second = await openApp(provider, {
      auth: { encryptionKeys: [newKey('k1')] },
      store: first.store,
    });
    copySession({ browser, app: first }, { browser, app: second });
    await expectChallenged(browser, second, provider);
  });
});

describe('A27: a record that is not this session’s own, or not whole', () => {
  const flip = (text: string) => (text.startsWith('A') ? 'B' : 'A') + text.slice(1);
  const part = (payload: string, index: number, change: (text: string) => string) =>
    payload
      .split('.')
      .map((text, at) => (at === index ? change(text) : text))
      .join('.');

  test.each<[string, (payload: string) => unknown]>([
    ['empty', () => ''],
    ['not text', () => ({ accessToken: 'x' })],
    ['none', () => undefined],
    ['something else', () => '<html>'],
    ['of an unknown version', (payload) => part(payload, 0, () => '2')],
    ['called unencrypted', (payload) => part(payload, 0, () => '0')],
    ['under an unknown key', (payload) => part(payload, 1, () => Buffer.from('k9').toString('base64url'))],
    ['with another nonce', (payload) => part(payload, 2, flip)],
    ['with an empty nonce', (payload) => part(payload, 2, () => '')],
    ['damaged', (payload) => part(payload, 3, flip)],
    ['with a damaged tag', (payload) => part(payload, 4, flip)],
    ['with a short tag', (payload) => part(payload, 4, (tag) => tag.slice(0, 6))],
    ['without its tag', (payload) => payload.split('.').slice(0, 4).join('.')],
    ['truncated', (payload) => payload.slice(0, payload.length / 2)],
    ['longer', (payload) => `${payload}.AAAA`],
  ])('A27: a payload that is %s is none: a challenge, and then all is well', async (_title, change) => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(app, { account: 'alice' });
    const { id, ...record } = cacheOf(app);
    putRecord(app.store, id, { ...record, payload: change(record.payload) });
    await expectChallenged(browser, app, provider);
    expect(app.logs.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test.each<[string, (record: Record<string, unknown>) => Record<string, unknown>]>([
    ['has another number', (record) => ({ ...record, version: Number(record.version) + 1 })],
    ['has no number', ({ version: _version, ...record }) => record],
    ['has a text for a number', (record) => ({ ...record, version: '1' })],
    ['holds nothing', ({ cookie }) => ({ cookie })],
    ['is gone', () => ({ cookie: { expires: new Date(0) } })],
  ])('A27: a record that %s is none', async (_title, change) => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(app, { account: 'alice' });
    const { id, ...record } = cacheOf(app);
    putRecord(app.store, id, change(record));
    await expectChallenged(browser, app, provider);
  });

  test('A27: half a record, which its store cannot parse: a challenge, and then all is well', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(app, { account: 'alice' });
    const { id, ...record } = cacheOf(app);
    const text = JSON.stringify(record);
    putText(app.store, id, text.slice(0, text.length / 2));
    await expectChallenged(browser, app, provider);
  });

  test.each([
    ['another user’s', 'bob'],
    ['the same user’s other session’s', 'alice'],
  ])('A27: %s cache in the place of one’s own: a challenge, never their token', async (_title, account) => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const alice = await signedIn(app, { account: 'alice' });
    const { id, ...own } = cacheOf(app);
    const other = await signedIn(app, { account });
    const theirs = [...tokenCaches(app.store)].find(([key]) => key !== id)!;
    putRecord(app.store, id, theirs[1]);
    await expectChallenged(alice, app, provider);
    expect(await silent(other, app)).toMatchObject({ accessToken: expect.any(String) });
    expect(records(app.store).get(id)).not.toMatchObject({ payload: own.payload });
  });

  test('A27: with another key in the session than it was written with', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(app, { account: 'alice' });
    const id = String(sessionId(browser, app));
    const session = records(app.store).get(id) as { oidc: { key: string } };
    putRecord(app.store, id, { ...session, oidc: { ...session.oidc, key: flip(session.oidc.key) } });
    await expectChallenged(browser, app, provider);
  });

  test('A27: an earlier state of one’s own record, under the later number, is none', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(app, { account: 'alice' });
    const { payload } = cacheOf(app);
    await expectAlive(browser, app);
    const { id, ...record } = cacheOf(app);
    putRecord(app.store, id, { ...record, payload });
    travel(61);
    await expectChallenged(browser, app, provider);
  });

  test('A27: a store restored to an earlier state: a challenge, and the spent refresh token is not presented', async () => {
    const provider = await openProvider();
    const app = await openApp(provider, { auth: { encryptionKeys: [newKey('k1')] } });
    const browser = await signedIn(app, { account: 'alice' });
    const { id, ...earlier } = cacheOf(app);
    for (let round = 0; round < 3; round += 1) await expectAlive(browser, app);
    putRecord(app.store, id, {
      ...earlier,
      cookie: { expires: new Date(Date.now() + 86_400_000) },
    });
    travel(61);
    await expectChallenged(browser, app, provider);
    for (let round = 0; round < 3; round += 1) await expectAlive(browser, app);
  });
});
