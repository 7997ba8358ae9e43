import { describe, expect, test } from '@jest/globals';
import {
  BearerTokenError,
  ClaimMismatchError,
  ConfigurationError,
  InteractionRequiredError,
  LoginError,
  LogoutTokenError,
  type OidcTokensError,
  ProviderUnavailableError,
  ScopeNotGrantedError,
  StoreUnavailableError,
  TokenEndpointError,
} from 'express-oidc-tokens';
import { anchorsOf, readText, sections } from './markdown.ts';

const page = readText('docs/errors.md');
const documented = sections(page, 2);
const source = readText('src/core/errors.ts');
const codes = unionOf('ErrorCode');

const errors: OidcTokensError[] = [
  new ConfigurationError('x'),
  new InteractionRequiredError({ reason: 'signed_out', scopes: [] }),
  new LoginError('x', { error: 'x' }),
  new LoginError('x', { error: 'x', loop: true }),
  new ScopeNotGrantedError([]),
  new ClaimMismatchError('x'),
  new TokenEndpointError('x'),
  new ProviderUnavailableError('x'),
  new StoreUnavailableError('x'),
  new LogoutTokenError('x'),
  new BearerTokenError('x', { status: 401, error: 'invalid_token', challenge: 'Bearer' }),
];

test('every code has its section, and every section is a code', () => {
  expect([...documented.keys()].sort()).toEqual([...codes].sort());
  expect(errors.map(({ code }) => code).sort()).toEqual([...codes].sort());
});

test.each(codes)('%s is found at errors.md# and the code in lower case', (code) => {
  expect(anchorsOf(page)).toContain(code.toLowerCase());
});

describe.each(errors.map((error) => [error.code, error] as const))('%s', (code, error) => {
  const text = documented.get(code) ?? '';

  test('names class and status', () => {
    expect(text).toContain(`\`${error.name}\`, status ${error.status}`);
  });

  test('names its fields', () => {
    const common = ['message', 'stack', 'name', 'code', 'status', 'headers', 'cause'];
    const own = Object.getOwnPropertyNames(error).filter((field) => !common.includes(field));
    // The same class as in the section before it, where the other field is.
    const expected = code === 'ERR_OIDC_LOGIN_LOOP' ? ['error'] : own;
    expect(expected.filter((field) => !text.includes(`\`${field}`))).toEqual([]);
    if (own.length === 0) expect(text).toContain('No further fields.');
  });

  test('says when, and what to do', () => {
    expect(text).toMatch(/\*\*When\.\*\*|\| when \|/);
    expect(text).toContain('**What to do.**');
  });
});

test('every reason of an interaction is there', () => {
  const text = documented.get('ERR_OIDC_INTERACTION_REQUIRED') ?? '';
  const listed = [...text.matchAll(/^\| `(\w+)` \| [^|]+ \|$/gm)].map((match) => match[1]);
  expect(unionOf('InteractionReason').filter((reason) => !listed.includes(reason))).toEqual([]);
});

/** The members of a union of texts in errors.ts. */
function unionOf(name: string): string[] {
  const [, body = ''] = new RegExp(`export type ${name} =([^;]+);`).exec(source) ?? [];
  return [...body.matchAll(/'(\w+)'/g)].map((match) => match[1] ?? '');
}
