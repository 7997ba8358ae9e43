import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { ErrorRequestHandler } from 'express';
import { startApp, type TestApp } from '../support/app.ts';
import { Browser } from '../support/browser.ts';
import { expectNoSecrets } from '../support/leaks.ts';
import { startProvider, type TestProvider } from '../support/provider.ts';
import { restoreTime, travel } from '../support/time.ts';
import { EVIL, expectSafe, heldCallback, whoIs } from './attacks-support.ts';

// RFC 9700: what an attacker does with the way back from the provider.

let provider: TestProvider;
let app: TestApp;
let victim: Browser;
let attacker: Browser;

beforeAll(async () => {
  provider = await startProvider();
  app = await startApp({ provider });
});
beforeEach(() => {
  provider.clearCalls();
  provider.tamper = {};
  victim = new Browser({ account: 'alice' });
  attacker = new Browser({ account: 'mallory' });
});
afterEach(() => {
  restoreTime();
  victim.close();
  attacker.close();
});
afterAll(async () => {
  await app.close();
  await provider.close();
});

const codes = () => provider.tokenCalls.map(({ params }) => params.code);

function withParameters(url: URL, changes: Record<string, string | string[] | undefined>): URL {
  const changed = new URL(url);
  for (const [name, value] of Object.entries(changes)) {
    changed.searchParams.delete(name);
    for (const single of [value ?? []].flat()) changed.searchParams.append(name, single);
  }
  return changed;
}

/** An answer that is not to be believed: refused before the code is spent, and a new login works. */
async function expectRefused(callback: URL): Promise<void> {
  const answer = await victim.request(callback, { headers: { accept: 'text/html' } });
  expectSafe(answer, { app, provider, only: [400] });
  expect(answer.text).toContain(`href="/login"`);
  expect(codes()).toEqual([]);
  expect(await whoIs(victim, app)).toBe('anonymous');
  await victim.login(app);
  expect(await whoIs(victim, app)).toBe('signed in as alice');
}

describe('mix-up (RFC 9700 §4.4, RFC 9207)', () => {
  test.each<[string, () => string | string[] | undefined]>([
    ['another issuer', () => EVIL],
    ['a slash more', () => `${provider.issuer}/`],
    ['an empty one', () => ''],
    ['none', () => undefined],
    ['twice the same', () => [provider.issuer, provider.issuer]],
    ['ours and another', () => [provider.issuer, EVIL]],
  ])('iss: %s', async (_name, iss) => {
    await expectRefused(withParameters(await heldCallback(victim, app), { iss: iss() }));
  });

  test('an error of another issuer is not believed either', async () => {
    const callback = await heldCallback(victim, app);
    await expectRefused(withParameters(callback, { code: undefined, error: 'access_denied', iss: EVIL }));
  });
});

describe('parameters twice, or of another flow', () => {
  test.each<[string, Record<string, string | string[] | undefined>]>([
    ['two codes', { code: ['a', 'b'] }],
    ['a code and an error', { error: 'server_error' }],
    ['two errors', { code: undefined, error: ['access_denied', 'login_required'] }],
    ['an empty code', { code: '' }],
    ['no code', { code: undefined }],
    ['a JARM response', { response: 'e30.e30.e30' }],
    ['an ID token of a hybrid flow', { id_token: 'e30.e30.e30' }],
  ])('%s', async (_name, changes) => {
    await expectRefused(withParameters(await heldCallback(victim, app), changes));
  });

  test('two states: one of the two is not ours', async () => {
    const callback = await heldCallback(victim, app);
    const states = [callback.searchParams.get('state')!, 'other'];
    await expectRefused(withParameters(callback, { state: states }));
  });

  test('tokens in the query are not looked at', async () => {
    const callback = await heldCallback(victim, app);
    callback.searchParams.set('access_token', 'evil-token');
    callback.searchParams.set('token_type', 'bearer');
    await victim.navigate(callback);
    expect(await whoIs(victim, app)).toBe('signed in as alice');
    expect((await victim.fetchJson(`${app.url}/token`)).text).not.toContain('evil-token');
  });
});

describe('code injection (RFC 9700 §4.5)', () => {
  test('the attacker’s code in the victim’s login', async () => {
    const theirs = (await heldCallback(attacker, app)).searchParams.get('code')!;
    const callback = withParameters(await heldCallback(victim, app), { code: theirs });
    const page = await victim.navigate(callback);
    expectSafe(page, { app, provider, only: [400] });
    expect(await whoIs(victim, app)).toBe('anonymous');
    expect(provider.tokenCalls).toMatchObject([{ status: 400, answer: { error: 'invalid_grant' } }]);
  });

  test('the victim’s code, stolen, in the attacker’s login', async () => {
    const stolen = (await heldCallback(victim, app)).searchParams.get('code')!;
    const page = await attacker.navigate(withParameters(await heldCallback(attacker, app), { code: stolen }));
    expectSafe(page, { app, provider, only: [400] });
    expect(await whoIs(attacker, app)).toBe('anonymous');
  });

  test('a code of the same user from another browser', async () => {
    const other = new Browser({ account: 'alice' });
    const code = (await heldCallback(other, app)).searchParams.get('code')!;
    const page = await victim.navigate(withParameters(await heldCallback(victim, app), { code }));
    expectSafe(page, { app, provider, only: [400] });
    expect(await whoIs(victim, app)).toBe('anonymous');
    other.close();
  });
});

describe('login CSRF (RFC 9700 §4.7): the attacker’s callback in the victim’s browser', () => {
  const attack = async (prepare: () => Promise<unknown>) => {
    await prepare();
    const theirs = await heldCallback(attacker, app, '/?theirs');
    const known = codes();
    const page = await victim.navigate(theirs, { from: `${EVIL}/` });
    expect(new URL(page.url).origin).toBe(app.url);
    expect(codes()).not.toContain(theirs.searchParams.get('code'));
    expect(await whoIs(victim, app)).toBe('signed in as alice');
    expect(codes().length - known.length).toBeLessThanOrEqual(1);
    // It was not spent: the attacker may still sign in as themselves.
    await attacker.navigate(theirs);
    expect(await whoIs(attacker, app)).toBe('signed in as mallory');
  };

  test('who was never here signs in as themselves', () => attack(async () => {}));
  test('so does who has a login pending, which also still works', async () => {
    let own: URL | undefined;
    await attack(async () => {
      own = await heldCallback(victim, app, '/user');
    });
    const page = await victim.navigate(own!);
    expect([page.url, JSON.parse(page.text).sub]).toEqual([`${app.url}/user`, 'alice']);
  });
  test('who is signed in stays so', () => attack(() => victim.login(app)));

  test('an answer that nobody asked for starts a login of the user’s own, once', async () => {
    const page = await victim.navigate(`${app.url}/callback?code=c&state=s&iss=${provider.issuer}`);
    expect(page.url).toBe(`${app.url}/`);
    expect(codes()).toHaveLength(1);
    expect(codes()).not.toContain('c');
    const blocked = await victim.request(`${app.url}/callback?code=c&state=r.made-up`, {
      headers: { cookie: '', accept: 'text/html' },
    });
    expectSafe(blocked, { app, provider, only: [400] });
    expect(blocked.text).toContain('Allow cookies');
  });
});

describe('an answer without state', () => {
  test.each([
    ['a code', { state: undefined }, 'does not say which sign-in'],
    ['an error', { state: undefined, code: undefined, error: 'access_denied' }, 'You did not allow'],
  ])('%s, each time: a page, not one login after the other', async (_name, changes, text) => {
    const page = await victim.navigate(withParameters(await heldCallback(victim, app), changes));
    expectSafe(page, { app, provider, only: [400] });
    expect(page.hops).toHaveLength(1);
    expect(page.text).toContain(text);
  });

  test('that nobody asked for, as where sign-ins begin at the provider: a login of the user’s own', async () => {
    expect((await victim.navigate(`${app.url}/callback?code=c`)).url).toBe(`${app.url}/`);
    expect(await whoIs(victim, app)).toBe('signed in as alice');
    expect(codes()).not.toContain('c');
  });
});

describe('replay', () => {
  test('the same callback again, in the same browser: signed in, one redemption', async () => {
    const callback = await heldCallback(victim, app, '/user');
    for (let count = 0; count < 3; count += 1)
      expect((await victim.navigate(callback)).url).toBe(`${app.url}/user`);
    travel(120);
    expect(new URL((await victim.navigate(callback)).url).origin).toBe(app.url);
    expect(await whoIs(victim, app)).toBe('signed in as alice');
    expect(codes()).toHaveLength(1);
  });

  test('in another browser: that one signs in as itself', async () => {
    const callback = await heldCallback(victim, app);
    await victim.navigate(callback);
    await attacker.navigate(callback);
    expect(await whoIs(attacker, app)).toBe('signed in as mallory');
    expect(codes().filter((code) => code === callback.searchParams.get('code'))).toHaveLength(1);
  });

  test('after the logout: nobody is signed in by it', async () => {
    const callback = await heldCallback(victim, app);
    await victim.navigate(callback);
    await victim.navigate(`${app.url}/logout`, { stopAt: ({ origin }) => origin === provider.issuer });
    const answer = await victim.request(callback);
    expectSafe(answer, { app, provider });
    expect(await whoIs(victim, app)).toBe('anonymous');
    expect(codes()).toHaveLength(1);
  });

  test('too late: the code is not spent, the login starts again', async () => {
    const callback = await heldCallback(victim, app);
    travel(901);
    expect((await victim.navigate(callback)).text).toBe('signed in as alice');
    expect(codes()).toHaveLength(1);
    expect(codes()).not.toContain(callback.searchParams.get('code'));
  });
});

describe('an error of the provider', () => {
  const nasty = '<script>alert(1)</script>"\'><img src=x onerror=alert(1)>';
  const failing = (site: TestApp) =>
    heldCallback(victim, site).then((callback) =>
      withParameters(callback, { code: undefined, error: nasty, error_description: nasty.repeat(50) }),
    );

  test('is text in a page, and in JSON', async () => {
    const page = await victim.request(await failing(app), { headers: { accept: 'text/html' } });
    expectSafe(page, { app, provider, only: [400] });
    expect(page.text).not.toMatch(/<(script|img)/i);
    const json = await victim.request(await failing(app), { headers: { accept: 'application/json' } });
    expectSafe(json, { app, provider, only: [400] });
    expect(JSON.parse(json.text)).toMatchObject({ error: 'ERR_OIDC_LOGIN_FAILED' });
    expect(json.headers['content-type']).toMatch(/^application\/json/);
  });

  test('is harmless also where the app sends the message as HTML', async () => {
    const sendMessage: ErrorRequestHandler = (error, _req, res, _next) => {
      const { status, message, error: code, errorDescription } = error;
      res.status(status).send([message, code, errorDescription].join('<br>'));
    };
    const careless = await startApp({ provider, routes: (site) => void site.use(sendMessage) });
    const page = await victim.request(await failing(careless));
    expect(page.status).toBe(400);
    expect(page.headers['content-type']).toMatch(/html/);
    expect(page.text.replaceAll('<br>', '')).not.toMatch(/[<>"']/);
    expectNoSecrets([page.text, careless.logText()], provider);
    await careless.close();
  });

  test('names neither state nor code in page or log', async () => {
    const callback = withParameters(await heldCallback(victim, app), { iss: EVIL });
    const page = await victim.request(callback);
    for (const name of ['state', 'code'])
      expect(page.text + app.logText()).not.toContain(callback.searchParams.get(name));
  });
});
