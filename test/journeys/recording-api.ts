import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One call of an API. */
export interface ApiCall {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  /** The token of its `Authorization: Bearer …`; undefined without one. */
  token: string | undefined;
  body: string;
}

/** What the API answers; left out: 200 and the number of the call. */
export interface ApiAnswer {
  status?: number;
  headers?: Record<string, string | string[]>;
}

export interface RecordingApi {
  url: string;
  calls: ApiCall[];
  tokens(): (string | undefined)[];
  /** What the next calls get, one each. */
  answer(...answers: ApiAnswer[]): void;
  /** What every call gets that has none of its own. */
  always(answer: ApiAnswer): void;
  close(): Promise<void>;
}

/** A real API on a loopback port that records what it is called with. */
export async function startApi(): Promise<RecordingApi> {
  const calls: ApiCall[] = [];
  const queue: ApiAnswer[] = [];
  let usual: ApiAnswer = {};
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1];
    const { method = '', url: path = '', headers } = req;
    calls.push({ method, path, headers, token, body: Buffer.concat(chunks).toString() });
    const { status = 200, headers: answered = {} } = queue.shift() ?? usual;
    res.writeHead(status, { 'content-type': 'application/json', ...answered });
    res.end(JSON.stringify({ call: calls.length }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    tokens: () => calls.map(({ token }) => token),
    answer: (...answers) => void queue.push(...answers),
    always: (answer) => {
      usual = answer;
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A refusal with this `WWW-Authenticate`. */
export function refusal(challenge: string | string[], status = 401): ApiAnswer {
  return { status, headers: { 'www-authenticate': challenge } };
}
