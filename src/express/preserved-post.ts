import { createHash, randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Request } from 'express';
import { isRecord } from '../core/cache-codec.ts';
import { publicPath } from '../core/return-to.ts';
import type { Account } from '../core/token-cache.ts';
import { type Context, signedIn } from './context.ts';
import { MAX_FORM_BYTES, readBytes } from './form-body.ts';
import { getLoginState } from './session.ts';

/** A POST that waits for its user to come back from the provider. */
export interface PreservedPost {
  readonly headers: Readonly<Record<string, string>>;
  /** As the app's parser read it, or the bytes that its parser is still to read. */
  readonly body: { readonly parsed: object } | { readonly unread: string };
  /** Who was signed in when it was sent. */
  readonly account: Pick<Account, 'issuer' | 'subject'> | undefined;
  readonly at: number;
}

/** Why a POST is not kept; `other` is nothing that its user could change. */
export type Refusal = 'too large' | 'kind' | 'other';

const KEEP_SECONDS = 900;
const MAX_JSON_BYTES = 2 * MAX_FORM_BYTES;
const PURPOSE = 'preserved post';

/** What handlers, checks against forgery among them, and a second challenge read beside the body. */
export const KEPT_HEADERS = ['content-type', 'origin', 'referer', 'sec-fetch-site'] as const;

/**
 * Undefined for a request whose body may be kept.
 *
 * The replay carries the session cookie that `SameSite=Lax` keeps from other sites' POSTs, so none of those may be
 * kept: only what the browser itself says comes from the app's own pages, or what no browser sent.
 */
export function refusalOf(
  method: string,
  headers: IncomingHttpHeaders,
  ownOrigin: string,
): Refusal | undefined {
  const { origin, 'sec-fetch-site': site, 'content-type': type = '' } = headers;
  const isOwn = site === undefined ? origin === undefined || origin === ownOrigin : site === 'same-origin';
  if (!isOwn) return 'other';
  if (method !== 'POST' || !/^application\/x-www-form-urlencoded\s*(;|$)/i.test(type)) return 'kind';
  return Number(headers['content-length'] ?? 0) > MAX_FORM_BYTES ? 'too large' : undefined;
}

/** What there is to keep of a request, or why it is not kept. `returnTo` is where the browser will come back to. */
export async function readPost(
  context: Context,
  req: Request,
  returnTo: string,
): Promise<PreservedPost | Refusal> {
  const { baseUrl } = context.settings;
  const refusal = refusalOf(req.method, req.headers, baseUrl.origin);
  if (refusal !== undefined) return refusal;
  // A URL that one cannot come back to leads home instead, where this POST does not belong.
  if (returnTo !== publicPath(req.originalUrl, baseUrl).replace(/\?$/, '')) return 'other';
  const body = await readBody(req);
  if (typeof body === 'string') return body;
  const { issuer, subject } = signedIn(context, req)?.handle ?? {};
  const sent = KEPT_HEADERS.map((name) => [name, req.headers[name]]).filter(
    ([, value]) => value !== undefined,
  );
  return {
    headers: Object.fromEntries(sent) as Record<string, string>,
    body,
    account: issuer === undefined || subject === undefined ? undefined : { issuer, subject },
    at: context.clock.now(),
  };
}

async function readBody(req: Request): Promise<PreservedPost['body'] | Refusal> {
  const parsed: unknown = req.body;
  // body-parser 1 puts an empty object where it has read nothing.
  if (isUnread(req) && !(isRecord(parsed) && Object.keys(parsed).length > 0)) {
    if (req.headers['content-encoding'] !== undefined) return 'kind';
    const bytes = await readBytes(req);
    return bytes === undefined ? 'too large' : { unread: bytes.toString('latin1') };
  }
  if (!isRecord(parsed) || Buffer.isBuffer(parsed)) return 'kind';
  return Buffer.byteLength(JSON.stringify(parsed)) > MAX_JSON_BYTES ? 'too large' : { parsed };
}

function isUnread(req: Request): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = req.headers;
  const hasBody = length !== undefined || encoding !== undefined;
  return hasBody && !req.readableDidRead && !req.readableEnded && req.readableFlowing !== true;
}

export function newPostId(): string {
  return randomBytes(24).toString('base64url');
}

/** After the login was started: the session holds the value that binds both to the browser. */
export async function keepPost(
  context: Context,
  req: Request,
  { returnTo, postId }: { returnTo: string; postId: string },
  post: PreservedPost,
): Promise<void> {
  const place = placeOf(req, returnTo, postId);
  const sealed = context.cipher.seal(JSON.stringify(post), place.salt, PURPOSE);
  await context.binding.transactions.put(place.record, sealed, KEEP_SECONDS * 1000);
}

/** The POST that this browser left at this very URL, once. */
export async function takePost(
  context: Context,
  req: Request,
  url: string,
  id: string,
): Promise<PreservedPost | undefined> {
  const { transactions } = context.binding;
  const place = placeOf(req, url, id);
  const sealed = await transactions.take(place.record);
  if (sealed === undefined) return undefined;
  await transactions.remove(place.record);
  const text = context.cipher.open(sealed, place.salt, PURPOSE);
  const post = text === undefined ? undefined : (JSON.parse(text) as PreservedPost);
  if (post === undefined || post.at + KEEP_SECONDS < context.clock.now()) return undefined;
  const now = signedIn(context, req)?.handle;
  const { account } = post;
  const isOther =
    account !== undefined && (account.issuer !== now?.issuer || account.subject !== now.subject);
  return isOther ? undefined : post;
}

/** Whoever is another browser, or at another URL, looks in another place: there is nothing, and nothing is spent. */
function placeOf(req: Request, url: string, id: string): { record: string; salt: string } {
  const salt = JSON.stringify([getLoginState(req)?.browser, url, id]);
  return { record: `post.${createHash('sha256').update(salt).digest('hex')}`, salt };
}

/** The query parameter that names a preserved POST. */
export const POST_ID = 'oidc_post';
const MARK = `${POST_ID}=`;

export function withPostId(url: string, id: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}${MARK}${id}`;
}

/** A URL as it was without the id, and the id; the rest keeps every character. */
export function splitPostId(url: string): { url: string; id: string | undefined } {
  const [path = '', ...query] = url.split('?');
  const parts = query.join('?').split('&');
  const id = parts.find((part) => part.startsWith(MARK))?.slice(MARK.length);
  if (id === undefined) return { url, id };
  const others = parts.filter((part) => !part.startsWith(MARK));
  return { url: others.length === 0 ? path : `${path}?${others.join('&')}`, id };
}
