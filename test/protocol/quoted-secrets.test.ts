import { expect, test } from '@jest/globals';
import { withoutSecrets } from '../../src/protocol/quoted-secrets.ts';

const SECRET = 'ä secret/with "+%&';
const TOKEN = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl-_of-it';

const basic = (credentials: string) => ({
  authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
});
const inBody = {
  body: new URLSearchParams({
    client_id: 'web-app',
    scope: 'openid a',
    client_secret: SECRET,
    refresh_token: TOKEN,
  }),
};

test.each([
  ['as it is', SECRET],
  ['in a URL', encodeURIComponent(SECRET)],
  ['in a form', '%c3%a4+secret%2fwith+%22%2b%25%26'],
  ['in a page', '&auml; secret&#x2F;with &quot;&#43;%&amp;'],
  ['in JSON', JSON.stringify({ it: SECRET }).slice(7, -2)],
  ['in JSON in JSON', 'ä secret\\\\/with \\\\\\"\\\\u002b%&'],
  ['in capitals', SECRET.toUpperCase()],
  ['a token', TOKEN],
  ['the beginning of a token', `${TOKEN.slice(0, -6)}...`],
  ['the end of a token', `...${TOKEN.slice(12)}`],
])('the words of a provider that quotes a secret: %s', (_how, quoted) => {
  const said = withoutSecrets(
    `AADSTS7000215: The value '${quoted}', of web-app for openid a is wrong.`,
    inBody,
  );
  expect(said).toMatch(/^AADSTS7000215: The value '.*….*', of web-app for openid a is wrong\.$/);
  expect(said).not.toMatch(/secret|with|eyJ|c2ln/i);
});

test.each([
  ['as OAuth encodes it', `web-app:${new URLSearchParams({ '': SECRET }).toString().slice(1)}`, SECRET],
  ['as it is', `web-app:${SECRET}`, SECRET],
  ['with a colon', `web-app:se:cret`, 'se:cret'],
])('a secret in the header: %s', (_how, credentials, secret) => {
  const headers = basic(credentials);
  const said = withoutSecrets(`Wrong: ${secret}, ${headers.authorization}`, { headers });
  expect(said).toMatch(/^Wrong\W*…\W*Basic …=*$/);
  expect(said).not.toContain('cret');
});

test('a secret without a letter of ASCII', () => {
  const body = new URLSearchParams({ client_secret: 'пароль' });
  expect(withoutSecrets("no such 'пароль'", { body })).toBe("no such '…'");
});

test('a secret that begins as another does is cut whole', () => {
  const body = new URLSearchParams({ code: 'abc', code_verifier: 'abcdef' });
  expect(withoutSecrets('no such abcdef, no such abc', { body })).toBe('no such …, no such …');
});

test('the words of an attacker cost no more than others', () => {
  const body = new URLSearchParams({ refresh_token: 'a%a-a_a.a'.repeat(50), code: 'a'.repeat(4000) });
  for (const unit of ['a', '%', '&a;', '%61', 'a%', '\\u0061'])
    expect(withoutSecrets(unit.repeat(100_000), { body }).length).toBeLessThanOrEqual(2000);
});

test('what is no secret stays', () => {
  const text = 'The on-behalf-of request for openid a of web-app lacks requested_token_use.';
  const body = new URLSearchParams({
    requested_token_use: 'on_behalf_of',
    client_id: 'web-app',
    scope: 'openid a',
  });
  expect(withoutSecrets(text, { body })).toBe(text);
  expect(withoutSecrets(text, {})).toBe(text);
});
