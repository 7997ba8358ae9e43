import { type IncomingHttpHeaders, type IncomingMessage, request, type ServerResponse } from 'node:http';

/** What belongs to one connection and not to the message on it (RFC 9110 §7.6.1). */
const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

/**
 * Each request to the next process, streamed both ways. For this machine only: a real one has timeouts, health checks
 * and TLS.
 *
 * @param ports of the processes that are up now.
 */
export function roundRobin(ports: () => readonly number[]) {
  let turn = 0;

  return function forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const up = ports();
    const port = up[turn % up.length];
    turn += 1;
    if (port === undefined) {
      refuse(outgoing);
      return;
    }
    const { method, url } = incoming;
    const onward = request({ host: 'localhost', port, method, path: url, headers: headersFor(incoming) });
    onward.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, withoutHops(answer.headers));
      answer.on('error', () => outgoing.destroy());
      answer.pipe(outgoing);
    });
    onward.on('error', () => (outgoing.headersSent ? outgoing.destroy() : refuse(outgoing)));
    outgoing.on('close', () => onward.destroy()); // the browser left
    incoming.pipe(onward);
  };
}

function headersFor(incoming: IncomingMessage): IncomingHttpHeaders {
  const headers = withoutHops(incoming.headers);
  headers['x-forwarded-for'] = incoming.socket.remoteAddress;
  headers['x-forwarded-host'] = incoming.headers.host;
  headers['x-forwarded-proto'] = 'http';
  return headers;
}

function withoutHops(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const named = (headers.connection ?? '').toLowerCase().split(/ *, */);
  const kept = Object.entries(headers).filter(
    ([name, value]) => value !== undefined && !HOP_BY_HOP.includes(name) && !named.includes(name),
  );
  return Object.fromEntries(kept);
}

function refuse(outgoing: ServerResponse): void {
  outgoing.writeHead(502, { 'content-type': 'text/plain', 'retry-after': '1' });
  outgoing.end('The process that this request went to does not answer. Try again.\n');
}
