import { describe, expect, test } from '@jest/globals';
import { R1, R2 } from '../support/provider.ts';
import { closing } from './challenge-setup.ts';
import { type Call, type Caller, startCaller, TEXT } from './fetch-with-token-setup.ts';
import { type ApiAnswer, refusal, startApi } from './recording-api.ts';

/** Two resources at one API, each with tokens of its own, and one inside the other. */
const two = () =>
  startCaller({
    auth: ({ url }) => ({
      scopes: 'openid offline_access a b mail.read',
      resources: {
        all: { url, resource: R1, scopes: 'a' },
        mail: { url: `${url}/mail`, resource: R2, scopes: 'mail.read' },
      },
    }),
  });

async function resourceOf({ provider }: Caller, token: string | undefined): Promise<unknown> {
  return (await provider.oidc.AccessToken.find(token ?? ''))?.aud;
}

describe('which token goes where', () => {
  test('the resource that says most about the URL gives the token', async () => {
    const user = await two();
    const { api } = user;
    for (const path of ['/', '/mailbox', '/mail', '/mail/1?q=2', '/x/../mail/2'])
      expect(await user.call({ url: api.url + path })).toMatchObject({ status: 200, json: { api: 200 } });
    const seen = await Promise.all(api.tokens().map((token) => resourceOf(user, token)));
    expect(seen).toEqual([R1, R1, R2, R2, R2]);
    expect(api.calls.map(({ path }) => path)).toEqual(['/', '/mailbox', '/mail', '/mail/1?q=2', '/mail/2']);
  });

  test('a call keeps its own method, headers and body; an Authorization of its own gives way', async () => {
    const { api, call } = await startCaller();
    const headers = { 'x-own': '1', Authorization: 'Basic own' };
    await call({ url: `${api.url}/mail`, method: 'PUT', headers, body: 'text' });
    expect(api.calls).toMatchObject([{ method: 'PUT', headers: { 'x-own': '1' }, body: TEXT }]);
    expect(api.tokens()).toEqual([expect.any(String)]);
  });

  test('no token is sent to a URL that it is not meant for', async () => {
    const user = await two();
    const other = closing(await startApi());
    const { api } = user;
    const refused: Call[] = [
      { url: other.url },
      { url: `${other.url}/mail`, request: 'mail' },
      { url: `${api.url}/mailbox`, request: 'mail' },
      { url: `${api.url}/mail/../other`, request: 'mail' },
      { url: `${other.url}/mail`, request: { resource: R2, scopes: 'mail.read' } },
      { url: `http://api.example/mail`, request: 'a' },
      { url: `ftp://127.0.0.1/mail`, request: 'a' },
      { url: api.url.replace('127.0.0.1', '10.0.0.1') },
      { url: '/mail' },
      { url: '' },
    ];
    for (const call of refused)
      expect([call, await user.call(call)]).toMatchObject([
        call,
        { status: 500, json: { name: 'TypeError' } },
      ]);
    expect([...api.calls, ...other.calls]).toEqual([]);
    expect(user.provider.tokenCalls).toEqual([]);
  });

  test('a request that names no resource with a URL goes where the app says, also by a word every object has', async () => {
    const user = await startCaller();
    const other = closing(await startApi());
    expect(await user.call({ url: other.url, request: 'b' })).toMatchObject({ json: { api: 200 } });
    expect(other.tokens()).toEqual([expect.any(String)]);
    const { json } = await user.call({ url: other.url, request: 'constructor', fallback: 200 });
    expect(json.name).not.toBe('TypeError');
  });

  test('a redirect to another origin does not carry the token, and what comes from there is no refusal of it', async () => {
    const user = await startCaller();
    const other = closing(await startApi());
    user.api.always({ status: 307, headers: { location: `${other.url}/there` } });
    other.always(refusal('Bearer error="insufficient_scope", scope="c"'));
    expect(await user.call({ url: `${user.api.url}/mail` })).toMatchObject({
      status: 200,
      json: { api: 401 },
    });
    expect(user.api.tokens()).toEqual([expect.any(String)]);
    expect(other.calls.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

const BARE_REFUSALS: [string, ApiAnswer][] = [
  ['invalid_token', refusal('Bearer error="invalid_token"')],
  ['no challenge at all', { status: 401 }],
  ['another scheme', refusal('Basic realm="x"')],
  ['a malformed header', refusal('Bearer error="')],
];

describe.each(BARE_REFUSALS)('a 401 with %s', (_name, answer) => {
  test('is called once more with a new token', async () => {
    const { api, call, provider } = await startCaller();
    api.answer(answer);
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ status: 200, json: { api: 200 } });
    expect(new Set(api.tokens()).size).toBe(2);
    expect(provider.tokenCalls).toHaveLength(1);
    await call({ url: `${api.url}/mail` });
    expect(api.tokens()[2]).toBe(api.tokens()[1]);
  });

  test('is what the app gets when the new token is refused too', async () => {
    const { api, call } = await startCaller();
    api.always(answer);
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ status: 200, json: { api: 401 } });
    expect(api.calls).toHaveLength(2);
  });
});

test('answers that no other token would change are the app’s own', async () => {
  const { api, call, provider } = await startCaller();
  const answers = [
    { status: 403 },
    refusal('Bearer error="insufficient_scope"', 403),
    refusal('Basic realm="x"', 403),
    refusal('Bearer error="invalid_token"', 400),
    { status: 500 },
    { status: 404 },
  ];
  for (const answer of answers) {
    api.answer(answer);
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({
      status: 200,
      json: { api: answer.status },
    });
  }
  expect(api.calls).toHaveLength(answers.length);
  expect(provider.tokenCalls).toEqual([]);
});

test('a refused token whose refresh token is dead too: the challenge, and the API is not called again', async () => {
  const { api, call, provider } = await startCaller();
  provider.script({ status: 400, json: { error: 'invalid_grant' } });
  api.answer({ status: 401 });
  expect(await call({ url: `${api.url}/mail` })).toMatchObject({
    status: 401,
    json: { error: 'interaction_required' },
  });
  expect(api.calls).toHaveLength(1);
});

describe('bodies', () => {
  test.each(['text', 'bytes', 'form', 'blob'] as const)('%s is sent again whole', async (body) => {
    const { api, call } = await startCaller();
    api.answer({ status: 401 });
    await call({ url: `${api.url}/mail`, method: 'POST', body });
    const wanted = body === 'form' ? new URLSearchParams(TEXT).toString() : TEXT;
    expect(api.calls.map((received) => received.body)).toEqual([wanted, wanted]);
  });

  test.each(['stream', 'readable', 'generator'] as const)(
    '%s is sent once: the app gets the refusal',
    async (body) => {
      const { api, call, provider } = await startCaller();
      api.always({ status: 401 });
      const answer = await call({ url: `${api.url}/mail`, method: 'POST', body });
      expect(answer).toMatchObject({ status: 200, json: { api: 401, text: '{"call":1}' } });
      expect(api.calls.map((received) => received.body)).toEqual([TEXT]);
      expect(provider.tokenCalls).toEqual([]);
    },
  );
});

test('an answer below 400 is the app’s deliberate fallback', async () => {
  const { api, call } = await startCaller();
  const wanted = { url: `${api.url}/mail`, fallback: 200 };
  api.answer(refusal('Bearer error="insufficient_scope", scope="c"', 403));
  expect(await call(wanted)).toMatchObject({ status: 200, json: { name: 'InteractionRequiredError' } });
});

test('nobody signed in: a challenge, and the API is not called', async () => {
  const user = await startCaller();
  user.browser.cookies.clear();
  const answer = await user.call({ url: `${user.api.url}/mail` });
  expect(answer).toMatchObject({ status: 401, json: { error: 'interaction_required' } });
  expect(user.api.calls).toEqual([]);
});
