import { describe, expect, test } from '@jest/globals';
import { asked, leave, words } from './challenge-setup.ts';
import { startCaller } from './fetch-with-token-setup.ts';
import { refusal } from './recording-api.ts';

const CLAIMS = { access_token: { nbf: { essential: true, value: '1700000000' } } };
const CLAIM_FORMS: [string, string | string[]][] = [
  ['base64url', `Bearer error="insufficient_claims", claims="${encode(CLAIMS, 'base64url')}"`],
  ['base64', `Bearer claims="${encode(CLAIMS, 'base64')}", error="insufficient_claims"`],
  ['plain', `Bearer error="insufficient_claims", claims="${JSON.stringify(CLAIMS).replaceAll('"', '\\"')}"`],
  [
    'one of several challenges',
    `Basic realm="a, Bearer error=\\"x\\"", Negotiate dG9rZW4=, bearer realm="r" , ERROR = "insufficient_claims",,claims=${encode(CLAIMS, 'base64url')}, Digest nonce="1,2"`,
  ],
  [
    'several header lines',
    ['Bearer realm="r"', `Bearer error="insufficient_claims", claims="${encode(CLAIMS, 'base64url')}"`],
  ],
];

describe.each(CLAIM_FORMS)('A21: insufficient_claims, %s', (_name, challenge) => {
  test('one silent retry with the decoded claims', async () => {
    const { api, call, provider } = await startCaller();
    api.answer(refusal(challenge));
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ status: 200, json: { api: 200 } });
    expect(provider.refreshCalls.map(({ params }) => JSON.parse(String(params.claims)))).toEqual([CLAIMS]);
    expect(new Set(api.tokens()).size).toBe(2);
  });

  test('then a challenge with the claims, and no third call to the API', async () => {
    const user = await startCaller();
    const { api, provider } = user;
    api.always(refusal(challenge));
    const call = { url: `${api.url}/mail` };
    const sent = asked(await leave(user, user.page(call)));
    expect(JSON.parse(sent.get('claims') ?? '')).toEqual(CLAIMS);
    expect(api.calls).toHaveLength(2);
    expect(provider.refreshCalls).toHaveLength(1);
    api.calls.length = 0;
    expect(await user.call(call)).toMatchObject({ status: 401, json: { error: 'interaction_required' } });
    expect(api.calls).toHaveLength(2);
  });
});

function encode(value: unknown, encoding: 'base64' | 'base64url'): string {
  return Buffer.from(JSON.stringify(value)).toString(encoding);
}

test.each(['bm90IGpzb24', '[1]', 'null', '""'])(
  'claims that are no JSON object (%s) count as none',
  async (claims) => {
    const { api, call, provider } = await startCaller();
    api.answer(refusal(`Bearer error="insufficient_claims", claims="${claims.replaceAll('"', '\\"')}"`));
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ json: { api: 200 } });
    expect(provider.refreshCalls[0]?.params).not.toHaveProperty('claims');
  },
);

test('A21: the provider wants the user for the claims: its own claims go into the challenge', async () => {
  const user = await startCaller();
  const own = JSON.stringify({ id_token: { acr: { value: 'mfa' } } });
  user.provider.script({ status: 400, json: { error: 'interaction_required', claims: own } });
  user.api.always(refusal(CLAIM_FORMS[0]?.[1] ?? ''));
  const sent = asked(await leave(user, user.page({ url: `${user.api.url}/mail` })));
  expect(sent.get('claims')).toBe(own);
  expect(user.api.calls).toHaveLength(1);
});

describe('insufficient_scope', () => {
  test.each([403, 401])('%i: the union of the scopes, silently', async (status) => {
    const { api, call, provider } = await startCaller();
    api.answer(refusal('Bearer error="insufficient_scope", scope="b  openid"', status));
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ status: 200, json: { api: 200 } });
    expect(provider.refreshCalls.map(({ params }) => words(String(params.scope)))).toEqual([['a', 'b']]);
    expect(new Set(api.tokens()).size).toBe(2);
  });

  test('what the user has not granted: a challenge for the union; afterwards the page works', async () => {
    const user = await startCaller();
    const { api } = user;
    api.answer(refusal('Bearer error="insufficient_scope", scope="c"', 403));
    const call = { url: `${api.url}/mail` };
    const page = await leave(user, user.page(call));
    expect(words(asked(page).get('scope'))).toEqual(words('openid offline_access a b c'));
    expect(api.calls).toHaveLength(1);
    const back = await user.browser.navigate(page.held);
    expect(back).toMatchObject({ status: 200, url: user.page(call) });
    expect(JSON.parse(back.text)).toMatchObject({ api: 200 });
  });

  test('a token with all of them, refused again: the challenge after two calls', async () => {
    const { api, call } = await startCaller();
    api.always(refusal('Bearer error="insufficient_scope", scope="a b"', 403));
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({
      status: 401,
      json: { scopes: ['a', 'b'] },
    });
    expect(api.calls).toHaveLength(2);
  });

  test('what is no scope is left out of it', async () => {
    const { api, call, provider } = await startCaller();
    api.answer(refusal('Bearer error="insufficient_scope", scope="b \\"x\\" ü"', 403));
    expect(await call({ url: `${api.url}/mail` })).toMatchObject({ status: 200, json: { api: 200 } });
    expect(words(String(provider.refreshCalls[0]?.params.scope))).toEqual(['a', 'b']);
  });
});
