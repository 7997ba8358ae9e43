import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { KoaContextWithOIDC } from 'oidc-provider';
import type { ProviderStorage } from './map-adapter.ts';
import type { ProviderSettings } from './provider-settings.ts';

/** One request to the token endpoint. */
export interface TokenCall {
  /** The form's parameters; repeated ones as an array. */
  params: Record<string, string | string[]>;
  headers: IncomingHttpHeaders;
  /** 0 until it is answered, and for ever where it never is. */
  status: number;
  /** The JSON that left (or, for `reset: 'after'` and `truncate`, would have left). */
  answer?: Record<string, unknown>;
  /** `Date.now()` when it arrived. */
  at: number;
}

/** What happens to one token request; the members act in this order. */
export interface TokenFault {
  /** Only the next request with this `grant_type` uses it up. */
  grantType?: string;
  /** Wait first. */
  delayMs?: number;
  wait?: Promise<unknown>;
  /** Never answer; the provider sees nothing. */
  hang?: true;
  /** Cut the connection: before the provider has seen the request, or after it has acted on it. */
  reset?: 'before' | 'after';
  /** Answer this instead of asking the provider. */
  status?: number;
  headers?: Record<string, string>;
  json?: unknown;
  body?: string;
  /** The provider acts, and its answer (whatever its status) is changed. */
  mutate?: (json: Record<string, unknown>) => unknown;
  /** The provider acts, and the answer is held back for so long. */
  waitAfter?: Promise<unknown>;
  /** The provider acts; `true`: half of its JSON in a complete HTTP message; `'connection'`: cut off inside the body. */
  truncate?: true | 'connection';
}

/** A fault, or a function that looks at the request first; `undefined` leaves it to the provider. */
export type TokenScript =
  | TokenFault
  | ((call: TokenCall) => TokenFault | undefined | Promise<TokenFault | undefined>);

interface Replay {
  at: number;
  answer: Promise<{ status: number; body: unknown }>;
}

/** Reads the body and puts it back, so that oidc-provider can read it again. */
export async function peekBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for (;;) {
    const chunk: Buffer | null = req.read();
    if (chunk) chunks.push(chunk);
    if (req.complete) break;
    await once(req, 'readable');
  }
  const body = Buffer.concat(chunks);
  if (body.length > 0) req.unshift(body);
  return body.toString();
}

/** A form as an object; repeated parameters become an array. */
export function formObject(params: URLSearchParams): Record<string, string | string[]> {
  const names = new Set(params.keys());
  return Object.fromEntries(
    [...names].map((name) => {
      const values = params.getAll(name);
      return [name, values.length === 1 ? (values[0] ?? '') : values];
    }),
  );
}

function cutConnection(ctx: KoaContextWithOIDC): void {
  ctx.respond = false;
  ctx.req.socket.resetAndDestroy();
}

function asObject(body: unknown): Record<string, unknown> | undefined {
  return typeof body === 'object' && body !== null ? { ...body } : undefined;
}

/** Records and scripts the token endpoint, and gives it a grace window. */
export class TokenEndpoint {
  readonly calls: TokenCall[] = [];
  /** For every request that no queued script takes. */
  always: TokenScript | undefined;
  readonly #queue: TokenScript[] = [];
  readonly #replays = new Map<string, Replay>();
  readonly #rotatedAt = new Map<string, number>();
  readonly #inFlight = new Map<string, Promise<unknown>>();
  readonly #settings: ProviderSettings;
  readonly #storage: ProviderStorage;
  readonly #onCall: (call: TokenCall) => void;
  /** Adds the ID token of `idTokenOnRefresh: true`. */
  addIdToken: (answer: Record<string, unknown>) => Promise<Record<string, unknown>> = async (answer) =>
    answer;

  constructor(settings: ProviderSettings, storage: ProviderStorage, onCall: (call: TokenCall) => void) {
    this.#settings = settings;
    this.#storage = storage;
    this.#onCall = onCall;
  }

  queue(scripts: TokenScript[]): void {
    this.#queue.push(...scripts);
  }

  clear(): void {
    this.calls.length = 0;
    this.#queue.length = 0;
  }

  async handle(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
    const params = formObject(new URLSearchParams(await peekBody(ctx.req)));
    const call: TokenCall = { params, headers: ctx.req.headers, status: 0, at: Date.now() };
    this.calls.push(call);
    this.#onCall(call);
    const fault = await this.#faultFor(call);
    if (fault.delayMs) await delay(fault.delayMs);
    await fault.wait;
    if (fault.hang) {
      ctx.respond = false;
      return;
    }
    if (fault.reset === 'before') return cutConnection(ctx);
    if (fault.status !== undefined || fault.json !== undefined || fault.body !== undefined) {
      ctx.status = fault.status ?? 200;
      ctx.body = fault.json ?? fault.body ?? '';
      if (fault.json === undefined) ctx.type = 'html';
      ctx.set(fault.headers ?? {});
    } else {
      await this.#answerWithGrace(ctx, call, next);
      await this.#alter(ctx, call, fault);
    }
    call.status = ctx.status;
    const answer = asObject(ctx.body);
    if (answer) call.answer = answer;
    await fault.waitAfter;
    if (fault.reset === 'after') cutConnection(ctx);
    else if (fault.truncate) this.#truncate(ctx, fault.truncate);
  }

  async #faultFor(call: TokenCall): Promise<TokenFault> {
    const index = this.#queue.findIndex(
      (script) =>
        typeof script === 'function' || !script.grantType || script.grantType === call.params.grant_type,
    );
    const [script = this.always] = index < 0 ? [] : this.#queue.splice(index, 1);
    return (typeof script === 'function' ? await script(call) : script) ?? {};
  }

  async #alter(ctx: KoaContextWithOIDC, call: TokenCall, fault: TokenFault): Promise<void> {
    let answer = asObject(ctx.body);
    if (!answer) return;
    if (call.params.grant_type === 'refresh_token' && ctx.status === 200) {
      if (this.#settings.idTokenOnRefresh === false) delete answer.id_token;
      if (this.#settings.idTokenOnRefresh && !answer.id_token) answer = await this.addIdToken(answer);
    }
    ctx.body = fault.mutate ? fault.mutate(answer) : answer;
  }

  async #answerWithGrace(ctx: KoaContextWithOIDC, call: TokenCall, next: () => Promise<void>): Promise<void> {
    const { grant_type, refresh_token, scope, resource } = call.params;
    const { graceMs } = this.#settings;
    if (graceMs <= 0 || grant_type !== 'refresh_token' || typeof refresh_token !== 'string') return next();
    const key = JSON.stringify([refresh_token, scope, resource]);
    const earlier = this.#replays.get(key);
    if (earlier && Date.now() - earlier.at <= graceMs) {
      const { status, body } = await earlier.answer;
      ctx.status = status;
      ctx.body = body;
      return;
    }
    // Another scope set with the same token waits, and then finds the token forgiven.
    while (this.#inFlight.has(refresh_token)) await this.#inFlight.get(refresh_token);
    const rotated = this.#rotatedAt.get(refresh_token);
    if (rotated !== undefined && Date.now() - rotated <= graceMs) this.#storage.forgiveReuse(refresh_token);
    const answered = next().then(() => ({ status: ctx.status, body: asObject(ctx.body) }));
    this.#replays.set(key, { at: Date.now(), answer: answered });
    this.#inFlight.set(refresh_token, answered);
    const { status } = await answered.finally(() => this.#inFlight.delete(refresh_token));
    if (status !== 200) this.#replays.delete(key);
    else if (rotated === undefined) this.#rotatedAt.set(refresh_token, Date.now());
  }

  #truncate(ctx: KoaContextWithOIDC, how: true | 'connection'): void {
    const json = JSON.stringify(ctx.body);
    const half = json.slice(0, json.length / 2);
    if (how === true) {
      ctx.body = half;
      ctx.type = 'json';
      return;
    }
    ctx.respond = false;
    ctx.res.writeHead(ctx.status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(json),
    });
    ctx.res.write(half, () => ctx.req.socket.destroy());
  }
}
