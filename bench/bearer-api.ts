import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import express, { type Request, type RequestHandler, type Response } from 'express';
import { auth as peerAuth } from 'express-oauth2-jwt-bearer';
import { type AuthHandle, auth, requiresBearer } from 'express-oidc-tokens';
import { R1, startProvider, type TestProvider } from '../test/support/provider.ts';

export type Guard = 'none' | 'ours' | 'peer';

/**
 * New middleware of both kinds, before whom no token but one has come. Each method gives the CPU time of this process
 * in microseconds a call.
 */
export interface Candidate {
  /** The guard without Express and HTTP; one call after another. */
  alone(guard: Guard, tokens: readonly string[], calls: number): Promise<number>;
  /** Through Express and HTTP, by a client in a process of its own. */
  http(guard: Guard, tokens: readonly string[], calls: number): Promise<number>;
  /** What follows the guard, without Express and HTTP. */
  hits(what: 'bearer' | 'onBehalfOf' | 'appToken', token: string, calls: number): Promise<number>;
}

export interface Api {
  /** For this API, all valid and all different. */
  readonly tokens: readonly string[];
  candidate(): Promise<Candidate>;
  close(): Promise<void>;
}

/** An API, a provider, and a client in a process of its own. */
export async function startApi(alg: 'RS256' | 'ES256', count: number): Promise<Api> {
  const provider = await startProvider();
  const tokens = await Promise.all(Array.from({ length: count + 1 }, () => makeToken(provider, alg)));
  const [known, ...fresh] = tokens as [string, ...string[]];
  const app = express();
  let guards: Record<Guard, RequestHandler[]> = { none: [], ours: [], peer: [] };
  for (const name of ['none', 'ours', 'peer'] as const) {
    app.get(
      `/${name}`,
      (req, res, next) => run(guards[name], req, res).then(() => next(), next),
      (_req, res) => void res.send('ok'),
    );
  }
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = await startClient(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return {
    tokens: fresh,
    async candidate() {
      const handle = openHandle(provider);
      guards = {
        none: [],
        ours: [handle, requiresBearer({ audience: R1 })],
        peer: [peerAuth({ issuerBaseURL: provider.issuer, audience: R1 })],
      };
      const own = guards;
      for (const name of ['ours', 'peer'] as const) await run(own[name], request(app, known), response);
      return {
        alone: (name, given, calls) =>
          cpu(calls, (call) => run(own[name], request(app, given[call % given.length]), response)),
        http: (name, given, calls) => cpuOf(calls, () => client.send({ name, tokens: given, calls })),
        async hits(what, token, calls) {
          const call = {
            appToken: () => handle.getAppToken('a'),
            bearer: () => run(own.ours, request(app, token), response),
            onBehalfOf: async () => {
              const req = request(app, token);
              await run(own.ours, req, response);
              await req.getTokenOnBehalfOf({ scopes: 'a', resource: R1 });
            },
          }[what];
          await call();
          return cpu(calls, call);
        },
      };
    },
    async close() {
      client.process.disconnect();
      server.closeAllConnections();
      server.close();
      await provider.close();
    },
  };
}

/** What this process takes of the processors meanwhile, in microseconds a call; threads are counted. */
async function cpuOf(calls: number, work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / calls;
}

function cpu(calls: number, call: (index: number) => Promise<unknown>): Promise<number> {
  return cpuOf(calls, async () => {
    for (let index = 0; index < calls; index += 1) await call(index);
  });
}

function openHandle({ issuer, api }: TestProvider): AuthHandle {
  const logger = { debug() {}, info() {}, warn() {}, error: console.error };
  return auth({ ...api, issuer, baseUrl: 'http://127.0.0.1', session: false, logger });
}

function makeToken(provider: TestProvider, alg: string): Promise<string> {
  const claims = {
    aud: R1,
    scope: 'read write',
    jti: crypto.randomUUID(),
    client_id: 'web-app',
    exp: EXPIRY,
  };
  return provider.signIdToken(claims, { alg, header: { typ: 'at+jwt' } });
}

const EXPIRY = Math.floor(Date.now() / 1000) + 7200;
const response = {} as Response;

/** What Express makes of a request, without a socket's bytes. */
function request(app: express.Express, token: string | undefined): Request {
  return Object.assign(Object.create(app.request), {
    app,
    method: 'GET',
    url: '/',
    originalUrl: '/',
    socket: {},
    headers: { host: '127.0.0.1', authorization: `Bearer ${token}` },
  });
}

async function run(guards: readonly RequestHandler[], req: Request, res: Response): Promise<void> {
  for (const guard of guards) {
    await new Promise<void>((resolve, reject) => {
      guard(req, res, (error?: unknown) => (error === undefined ? resolve() : reject(error)));
    });
  }
}

interface Client {
  readonly process: ChildProcess;
  send(work: { name: Guard; tokens: readonly string[]; calls: number }): Promise<void>;
}

async function startClient(url: string): Promise<Client> {
  const child = fork(fileURLToPath(new URL('bearer-client.ts', import.meta.url)), [url]);
  await once(child, 'message');
  return {
    process: child,
    async send(work) {
      child.send(work);
      const [failed] = await once(child, 'message');
      if (failed !== 0) throw new Error(`${failed} requests were not answered 200`);
    },
  };
}
