import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import compression from 'compression';
import { type ErrorRequestHandler, type Request, type RequestHandler, type Response, Router } from 'express';
import { claimCheck } from 'express-oidc-tokens';
import express4 from 'express4';
import helmet from 'helmet';
import { closing, type Journey, start } from './challenge-setup.ts';

const FILE = fileURLToPath(import.meta.url);
const REQUESTS = 100;

/** How an app meets the rejection of `getToken`; without `answer` it leaves the error to its error handler. */
interface Style {
  name: string;
  onError?: ErrorRequestHandler;
  answer?: (res: Response) => unknown;
  status?: number;
}

const STYLES: Style[] = [
  { name: 'no error handler' },
  {
    name: 'catch-all 500',
    onError: (_error, _req, res, _next) => void res.status(500).send('<h1>Oops</h1>'),
  },
  {
    name: 'JSON',
    onError: (error, _req, res, _next) => void res.status(error.status).json({ error: error.message }),
  },
  { name: 'sendFile', onError: (_error, _req, res, _next) => res.status(500).sendFile(FILE) },
  {
    name: 'streamed write',
    onError: (_error, _req, res, _next) => {
      res.status(500).type('html');
      res.write('<h1>');
      res.write('Oops'.repeat(5000), () => res.end('</h1>'));
    },
  },
  {
    name: 'explicit writeHead',
    onError: (_error, _req, res, _next) => {
      res.writeHead(500, 'Oops', { 'Content-Type': 'text/plain', 'Content-Length': '4', ETag: '"oops"' });
      res.end('Oops');
    },
  },
  { name: 'try/catch with 500', answer: (res) => res.status(500).json({ error: 'oops' }) },
  { name: 'try/catch with a 200 fallback', answer: (res) => res.json({ orders: [] }), status: 200 },
];

interface Counts {
  finallys: number;
  connections: number;
}

interface Setting extends Journey {
  counts: Counts;
}

/** `/<n>`: each style with its own error handler; `before` stands in front of express-session and `auth()`. */
async function serve(express: 4 | 5, behind: 'alone' | 'behind compression and helmet'): Promise<Setting> {
  const counts = { finallys: 0, connections: 0 };
  const handlerOf = ({ answer }: Style) =>
    async function handler(req: Request, res: Response): Promise<void> {
      try {
        const { accessToken } = await req.getToken('a');
        res.send(`token of ${accessToken.length} characters`);
      } catch (error) {
        if (answer === undefined) throw error;
        answer(res);
      } finally {
        counts.finallys += 1;
      }
    };
  const journey = await start({
    // On Express 4 the guard's decorator form forwards the rejection; it wants a user, who here has no refresh token.
    signedIn: express === 4,
    provider: { client: { grant_types: ['authorization_code'] } },
    app: {
      express,
      session: { cookie: { maxAge: 3_600_000 } },
      before: (app) => {
        if (behind === 'alone') return;
        app.use(compression({ threshold: 0 }) as RequestHandler);
        app.use(helmet());
      },
      routes: (app) => {
        STYLES.forEach((style, index) => {
          const router =
            express === 4 ? (express4 as unknown as { Router: typeof Router }).Router() : Router();
          const handler = handlerOf(style);
          router.get('/', express === 4 ? claimCheck(() => true, handler) : handler);
          if (style.onError) router.use(style.onError);
          app.use(`/${index}`, router);
        });
      },
    },
  });
  journey.app.server.on('connection', () => {
    counts.connections += 1;
  });
  return { ...journey, counts };
}

interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

function send(agent: Agent, url: string, headers: Record<string, string>): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const req = request(url, { agent, headers }, async (res) => {
      const chunks: Buffer[] = [];
      for await (const chunk of res) chunks.push(chunk);
      resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) });
    });
    req.on('error', reject).end();
  });
}

const PAGE = {
  accept: 'text/html',
  'accept-encoding': 'gzip',
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
};

describe.each(['alone', 'behind compression and helmet'] as const)('%s', (behind) => {
  describe.each([5, 4] as const)('Express %i', (express) => {
    test.each(STYLES.map((style, index) => ({ ...style, index })))(
      'A23: $name: 100 requests on one keep-alive connection all leave as the challenge',
      async ({ index, status = 302 }) => {
        const { app, provider, browser, counts } = await serve(express, behind);
        const agent = new Agent({ keepAlive: true, maxSockets: 1 });
        closing({ close: () => agent.destroy() });
        const cookie = browser.cookies.header(new URL(app.url), { crossSite: false, safeNavigation: true });
        const url = `${app.url}/${index}`;
        const headers = { ...PAGE, ...(cookie ? { cookie } : {}) };
        const before = counts.connections;
        const replies = await Promise.all(Array.from({ length: REQUESTS }, () => send(agent, url, headers)));

        expect(counts).toEqual({ finallys: REQUESTS, connections: before + 1 });
        expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([status]));
        expect(
          replies.filter((reply) => /connect\.sid=/.test(String(reply.headers['set-cookie']))),
        ).toHaveLength(REQUESTS);
        if (status === 200) return;
        for (const reply of replies) expect(reply.body.length).toBe(0);
        const locations = replies.map((reply) => new URL(String(reply.headers.location)));
        expect(new Set(locations.map(({ origin }) => origin))).toEqual(new Set([provider.issuer]));
        expect(new Set(locations.map(({ searchParams }) => searchParams.get('state'))).size).toBe(REQUESTS);
        for (const name of ['content-type', 'content-encoding', 'etag', 'transfer-encoding'])
          expect(replies[0]?.headers[name]).toBeUndefined();

        const page = await browser.navigate(url);
        expect(page).toMatchObject({ status: 200, url, text: expect.stringContaining('token of') });
      },
    );
  });
});

test('A23: behind compression a script gets the whole JSON, in every style', async () => {
  const { app, counts } = await serve(5, 'behind compression and helmet');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  closing({ close: () => agent.destroy() });
  const headers = { 'accept-encoding': 'gzip', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' };
  for (const [index, { status = 401 }] of STYLES.entries()) {
    const reply = await send(agent, `${app.url}/${index}`, headers);
    expect(reply.status).toBe(status);
    expect(reply.headers['content-encoding']).toBe('gzip');
    const json = JSON.parse(gunzipSync(reply.body).toString());
    expect(json).toEqual(
      status === 200
        ? { orders: [] }
        : { error: 'interaction_required', loginUrl: expect.stringContaining('/login?'), scopes: ['a'] },
    );
  }
  expect(counts).toEqual({ finallys: STYLES.length, connections: 1 });
});
