import { expect, test } from '@jest/globals';
import express, { type ErrorRequestHandler, type RequestHandler } from 'express';
import { auth, redisTokenStore, requiresAuth, requiresBearer, requiresToken } from 'express-oidc-tokens';
import supertest from 'supertest';

test.each<[string, object]>([
  ['auth()', auth],
  ['requiresAuth()', requiresAuth],
  ['requiresToken()', requiresToken],
  ['requiresBearer()', requiresBearer],
])('%s mounted without its parentheses lets nobody through, and says so', async (call, mounted) => {
  const app = express();
  app.get('/', mounted as RequestHandler, (_req, res) => void res.send('let through'));
  const failed: ErrorRequestHandler = (error, _req, res, _next) => void res.status(500).send(String(error));
  const answer = await supertest(app.use(failed)).get('/');
  expect(answer.text).toBe(
    `TypeError: ${call} was given a request: write ${call} where it is mounted, with the parentheses`,
  );
});

test.each([undefined, {}, { client: {} }])('redisTokenStore(%p) says what it needs', (options) => {
  expect(() => redisTokenStore(options as never)).toThrow(
    new TypeError('redisTokenStore() needs { client }: a client of redis or ioredis'),
  );
});

test('redisTokenStore() knows its options', () => {
  const options = { client: { call: async () => null }, perfix: 'a:' };
  expect(() => redisTokenStore(options)).toThrow(
    new TypeError('redisTokenStore() has no option "perfix"; it takes client, prefix'),
  );
});
