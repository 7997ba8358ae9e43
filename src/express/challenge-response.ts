import type { Response } from 'express';

/** How a request is told that only the user can help. */
export interface Challenge {
  readonly status: 302 | 303 | 401;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Headers that describe a body; those of the answer that the challenge replaces do not fit it. */
const BODY_HEADERS = [
  'Content-Type',
  'Content-Length',
  'Content-Encoding',
  'Content-Range',
  'Content-Disposition',
  'Transfer-Encoding',
  'ETag',
  'Last-Modified',
  'Cache-Control',
  'Retry-After',
  'Content-Security-Policy',
];

const armed = new WeakSet<Response>();

/** Whether this response leaves as a challenge already. */
export function isArmed(res: Response): boolean {
  return armed.has(res);
}

/** Writes the challenge as the answer. */
export function sendChallenge(res: Response, challenge: Challenge): void {
  putHead(res, challenge);
  res.end(challenge.body);
}

/**
 * From now on the first error (status 400 or above) that the app writes leaves as the challenge, its body swallowed.
 * A lower status is the app's deliberate answer and leaves as it is.
 *
 * All three ways of writing a head are wrapped: `end` alone misses streamed answers.
 */
export function armChallenge(res: Response, challenge: Challenge): void {
  if (armed.has(res) || res.headersSent) return;
  armed.add(res);
  const { writeHead, write, end } = res;
  let isReplacing = false;

  /** Decides at the first sign of a head; true when the challenge takes the answer's place. */
  const replaces = (status: number): boolean => {
    if (isReplacing || res.headersSent || status < 400) return isReplacing;
    isReplacing = true;
    putHead(res, challenge);
    return true;
  };

  res.writeHead = function challengedWriteHead(this: Response, status: number, ...rest: unknown[]) {
    if (!isReplacing && !replaces(status)) return Reflect.apply(writeHead, res, [status, ...rest]);
    return Reflect.apply(writeHead, res, [challenge.status]);
  } as Response['writeHead'];

  res.write = function challengedWrite(this: Response, ...args: unknown[]) {
    if (!replaces(res.statusCode)) return Reflect.apply(write, res, args);
    callBack(args);
    return true;
  } as Response['write'];

  res.end = function challengedEnd(this: Response, ...args: unknown[]) {
    if (!replaces(res.statusCode)) return Reflect.apply(end, res, args);
    callBack(args);
    return Reflect.apply(end, res, challenge.body === '' ? [] : [challenge.body]);
  } as Response['end'];
}

function putHead(res: Response, challenge: Challenge): void {
  for (const name of BODY_HEADERS) {
    // Node closes the connection after an answer whose transfer encoding was removed, there or not.
    if (res.hasHeader(name)) res.removeHeader(name);
  }
  res.statusCode = challenge.status;
  res.statusMessage = '';
  for (const [name, value] of Object.entries(challenge.headers)) res.setHeader(name, value);
  res.setHeader('Content-Length', Buffer.byteLength(challenge.body));
}

/** Whoever wrote the swallowed body still hears that it is gone. */
function callBack(args: unknown[]): void {
  const done = args.findLast((arg) => typeof arg === 'function') as (() => void) | undefined;
  if (done) process.nextTick(done);
}
