import { expect, test } from '@jest/globals';
import type { ErrorRequestHandler, Express, RequestHandler } from 'express';
import { claimCheck, claimEquals, claimIncludes, requiresAuth, requiresToken } from 'express-oidc-tokens';
import { fetchJson, type Journey, open, start } from './challenge-setup.ts';

function aliceAt(routes: (app: Express) => void): Promise<Journey> {
  const claims = { tenant: 'blue', given_name: 3, groups: ['dev', 'ops', 7], roles: 'reader writer' };
  return start({ provider: { accountClaims: () => claims }, app: { routes } });
}

const HOLDS: [name: string, guard: RequestHandler][] = [
  ['a string', claimEquals('tenant', 'blue')],
  ['a number', claimEquals('given_name', 3)],
  ['a boolean', claimEquals('email_verified', true)],
  ['one of an array', claimIncludes('groups', 'ops')],
  ['several of an array', claimIncludes('groups', 'ops', 'dev', 7)],
  ['words of a string', claimIncludes('roles', 'writer', 'reader')],
  ['a check', claimCheck((req, claims) => claims.tenant === req.query.tenant)],
  [
    'a check that takes a while',
    claimCheck(async (_req, { email }) => String(email).endsWith('@example.com')),
  ],
];

const LACKS: [name: string, guard: RequestHandler][] = [
  ['another value', claimEquals('tenant', 'red')],
  ['another type', claimEquals('given_name', '3')],
  ['a truthy value', claimEquals('email_verified', 1)],
  ['null for a claim that is missing', claimEquals('missing', null)],
  ['a name that every object has', claimEquals('constructor', 'Object')],
  ['an array that holds it', claimEquals('groups', 'dev')],
  ['one of several missing', claimIncludes('groups', 'dev', 'boss')],
  ['a number as a string', claimIncludes('groups', '7')],
  ['part of a word', claimIncludes('roles', 'read')],
  ['no list at all', claimIncludes('given_name', 3)],
  ['a list that is missing', claimIncludes('missing', 'dev')],
  ['a list that every object has', claimIncludes('toString', 'dev')],
  ['a check that fails', claimCheck(() => false)],
  ['a check that fails later', claimCheck(async () => false)],
];

test('claims that hold: the request goes on', async () => {
  const journey = await aliceAt((app) => {
    HOLDS.forEach(
      ([name, guard], index) => void app.get(`/${index}`, guard, (_req, res) => void res.send(name)),
    );
  });
  for (const [index, [name]] of HOLDS.entries())
    expect(await open(journey, `/${index}?tenant=blue`)).toMatchObject({ status: 200, text: name });
});

test('claims that do not hold: 403, never a login', async () => {
  const errors: unknown[] = [];
  const onError: ErrorRequestHandler = (error, _req, _res, next) => {
    errors.push(error);
    next(error);
  };
  const journey = await aliceAt((app) => {
    LACKS.forEach(([, guard], index) => void app.all(`/${index}`, guard, (_req, res) => void res.send('in')));
    app.use(onError);
  });
  const messageOf = (title: string) =>
    (errors[3 * LACKS.findIndex(([name]) => name === title)] as Error).message;
  const { provider } = journey;
  provider.clearCalls();
  for (const [index, [name]] of LACKS.entries()) {
    const page = await open(journey, `/${index}`);
    expect([name, page.status, page.headers.location]).toEqual([name, 403, undefined]);
    expect((await fetchJson(journey, `/${index}`)).status).toBe(403);
    expect((await open(journey, `/${index}`, 'POST')).status).toBe(403);
  }
  expect(errors).toHaveLength(3 * LACKS.length);
  for (const error of errors)
    expect(error).toMatchObject({ name: 'ClaimMismatchError', code: 'ERR_OIDC_CLAIM_MISMATCH' });
  expect(messageOf('another value')).toContain('the claim "tenant" in req.oidc.user is not what');
  expect(messageOf('a list that every object has')).toContain('req.oidc.user has no claim "toString"');
  expect(messageOf('a check that fails')).toContain('do not pass the check of this route');
  expect(provider.tokenCalls).toEqual([]);
  expect((await open(journey, '/')).text).toBe('signed in as alice');
});

const handler: RequestHandler = (_req, res) => void res.send('in');

test.each<[string, () => unknown]>([
  ['requiresAuth("a")', () => requiresAuth('a' as never)],
  ['requiresToken("a", {})', () => requiresToken('a', {} as never)],
  ['claimEquals()', () => claimEquals(undefined as never, 'x')],
  ['claimEquals("")', () => claimEquals('', 'x')],
  ['claimEquals("x")', () => claimEquals('x', undefined as never)],
  ['claimEquals("x", [])', () => claimEquals('x', ['y'] as never)],
  ['claimEquals("x", "y", {})', () => claimEquals('x', 'y', {} as never)],
  ['claimIncludes("x")', () => claimIncludes('x')],
  ['claimIncludes("x", handler)', () => claimIncludes('x', handler as never)],
  ['claimIncludes("x", ["y"])', () => claimIncludes('x', ['y'] as never)],
  ['claimCheck()', () => claimCheck(undefined as never)],
  ['claimCheck(check, {})', () => claimCheck(() => true, {} as never)],
])('%s is a TypeError at once', (_call, make) => {
  expect(make).toThrow(TypeError);
});
