import assert from 'node:assert/strict';
import type fc from 'fast-check';
import type { SignedIn } from '../../src/core/session-handle.ts';
import { type NormalizedRequest, normalizeRequest, type TokenRequest } from '../../src/core/token-request.ts';
import type { Transaction } from '../../src/core/transaction.ts';
import type { TokenResult } from '../../src/tokens/acquire-silent.ts';
import {
  type AnswerKind,
  type Described,
  DescribingProvider,
  describe,
  targetName,
} from './describing-provider.ts';
import { clock, openProcess, type Process, SimulatedRecords, turnsOf } from './isolation-process.ts';
import { ISSUER } from './simulated-provider.ts';

export const R1 = 'https://r1.example';
export const R2 = 'https://r2.example';
export const SESSIONS = 3;
export const INCOMING = 3;

/** What somebody does; `rejects` is which of the tokens that the session got. */
export type Operation =
  | { kind: 'get token'; session: number; process: number; request: TokenRequest; rejects: number }
  | { kind: 'get app token'; process: number; request: TokenRequest }
  | { kind: 'get token on behalf of'; process: number; incoming: number; request: TokenRequest }
  | { kind: 'get ID token'; session: number; process: number }
  | { kind: 'log in'; session: number; process: number; subject: string }
  | { kind: 'log out'; session: number; process: number }
  | { kind: 'forget'; process: number }
  | { kind: 'wait'; seconds: number };

interface Session {
  readonly id: string;
  signedIn?: SignedIn;
  /** The access tokens that it got, the newest first. */
  readonly tokens: string[];
}

const SESSION_MS = 24 * 3_600_000;
const SCOPES = ['a', 'b', 'c'];
const DEFAULTS = { scopes: ['a'], target: {}, resources: {} };
const KNOWN_ERRORS =
  /^(InteractionRequired|ProviderUnavailable|ScopeNotGranted|TokenEndpoint|BearerToken|Configuration)Error$/;

/** How often which kind of token was looked at. */
export const served = {
  user: 0,
  'user, cached': 0,
  app: 0,
  'app, cached': 0,
  obo: 0,
  'obo, cached': 0,
  id: 0,
};

/** Sessions of some users in processes over one store; every token that somebody gets is held against who asked. */
export class World {
  readonly #scheduler: fc.Scheduler;
  readonly #provider: DescribingProvider;
  readonly #processes: Process[];
  readonly #sessions: Session[];
  readonly #incoming: string[];
  /** The sign-ins whose tokens a token cache may hold. */
  readonly #signIns = new Map<string, Set<string>>();
  #signInCount = 0;

  constructor(scheduler: fc.Scheduler, answers: Iterator<AnswerKind>, processes: number) {
    this.#scheduler = scheduler;
    const turns = turnsOf(scheduler);
    const records = new SimulatedRecords(turns);
    this.#provider = new DescribingProvider(turns, answers);
    this.#processes = Array.from({ length: processes }, (_, number) => {
      const actor = { name: `P${number}`, isCrashed: false };
      return openProcess(number, this.#provider.for(actor), records.for(actor));
    });
    this.#sessions = Array.from({ length: SESSIONS }, (_, index) => ({ id: `session-${index}`, tokens: [] }));
    this.#incoming = Array.from({ length: INCOMING }, (_, index) =>
      this.#provider.issue({
        subject: ['alice', 'bob'][index % 2]!,
        target: 'this API',
        scopes: [],
        from: '',
      }),
    );
  }

  /** One round after another. In a round, when each begins and which of its steps comes when is the scheduler's choice. */
  async play(subjects: readonly string[], rounds: readonly (readonly Operation[])[]): Promise<void> {
    const signIns = subjects.map(
      (subject, session): Operation => ({ kind: 'log in', session, process: 0, subject }),
    );
    for (const round of [signIns, ...rounds]) await this.#end(round.map((operation) => this.#do(operation)));
  }

  /** Takes one step after another, each when what the one before set going has come to its next step. */
  async #end(works: Promise<void>[]): Promise<void> {
    let isOver = false;
    const all = Promise.all(works).finally(() => {
      isOver = true;
    });
    all.catch(() => undefined);
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#scheduler.count() > 0) await this.#scheduler.waitOne();
    }
    await all;
  }

  async #do(operation: Operation): Promise<void> {
    await this.#scheduler.schedule(Promise.resolve(), `begins to ${operation.kind}`);
    try {
      await this.#perform(operation);
    } catch (error) {
      if (!KNOWN_ERRORS.test((error as Error).name)) throw error;
    }
  }

  async #perform(operation: Operation): Promise<void> {
    if (operation.kind === 'wait') {
      clock.seconds += operation.seconds;
      return;
    }
    const process = this.#processes[operation.process % this.#processes.length]!;
    if (operation.kind === 'forget') return process.forget();
    if (operation.kind === 'get app token') return this.#getAppToken(process, operation.request);
    if (operation.kind === 'get token on behalf of')
      return this.#getTokenOnBehalfOf(process, this.#incoming[operation.incoming]!, operation.request);
    const session = this.#sessions[operation.session]!;
    if (operation.kind === 'log in') return this.#logIn(process, session, operation.subject);
    // As a request does it that loads the session when it begins.
    const { signedIn } = session;
    if (signedIn === undefined) return;
    if (operation.kind === 'get ID token') return this.#getIdToken(process, signedIn);
    if (operation.kind === 'log out') {
      delete session.signedIn;
      await process.logOut(signedIn);
      return;
    }
    const rejected = session.tokens[operation.rejects];
    const request = normalizeRequest({ ...operation.request, ...(rejected ? { rejected } : {}) }, DEFAULTS);
    const { silent } = process;
    const token = silent.fromMemory(signedIn, request) ?? (await silent.acquire(signedIn, request));
    session.tokens.unshift(token.accessToken);
    this.#checkUser(signedIn, request, token);
  }

  #checkUser({ handle }: SignedIn, request: NormalizedRequest, token: TokenResult): void {
    served[token.source === 'cache' ? 'user, cached' : 'user'] += 1;
    const described = check(token, request);
    assert.equal(described.subject, handle.subject);
    assert.equal(token.account.subject, handle.subject);
    assert.ok(this.#signIns.get(handle.ref)?.has(described.from), `${described.from} was another session's`);
    assert.notEqual(token.accessToken, request.rejected);
  }

  async #getAppToken({ app }: Process, input: TokenRequest): Promise<void> {
    const request = normalizeRequest(input, { ...DEFAULTS, scopes: [] });
    const { token, source } = await app.acquire(request);
    served[source === 'cache' ? 'app, cached' : 'app'] += 1;
    const { subject, from } = check(token, request);
    assert.deepEqual([subject, from], ['the app', '']);
  }

  async #getTokenOnBehalfOf({ onBehalfOf }: Process, incoming: string, input: TokenRequest): Promise<void> {
    const request = normalizeRequest(input, DEFAULTS);
    const assertion = { token: incoming, expiresAt: Number.POSITIVE_INFINITY };
    const { token, source } = await onBehalfOf.acquire(assertion, request);
    served[source === 'cache' ? 'obo, cached' : 'obo'] += 1;
    const { subject, from } = check(token, request);
    assert.deepEqual([subject, from], [describe(incoming).subject, incoming]);
  }

  async #getIdToken({ silent }: Process, signedIn: SignedIn): Promise<void> {
    const idToken = await silent.idToken(signedIn);
    if (idToken === undefined) return;
    served.id += 1;
    const [, payload = ''] = idToken.split('.');
    assert.equal(JSON.parse(Buffer.from(payload, 'base64url').toString()).sub, signedIn.handle.subject);
  }

  /** As the callback does it: another user's tokens end, those of the same one are kept and added to. */
  async #logIn(process: Process, session: Session, subject: string): Promise<void> {
    this.#signInCount += 1;
    const from = `sign-in ${this.#signInCount}`;
    const before = session.signedIn;
    if (before !== undefined) this.#signIns.get(before.handle.ref)?.add(from);
    const issue = (target: string) => this.#provider.issue({ subject, target, scopes: SCOPES, from });
    const answer = {
      accessToken: issue(targetName({})),
      refreshToken: issue(''),
      tokenType: 'bearer',
      expiresIn: 600,
      scope: SCOPES.join(' '),
      idToken: `.${Buffer.from(JSON.stringify({ sub: subject })).toString('base64url')}.`,
    };
    const transaction = { kind: 'login', scopes: [...SCOPES, 'openid'], resources: [R1, R2], target: {} };
    const redeemed = { answer, claims: { iss: ISSUER, sub: subject } };
    const handle = await process.byCode.store(
      redeemed,
      transaction as unknown as Transaction,
      before,
      SESSION_MS,
    );
    this.#signIns.set(handle.ref, (this.#signIns.get(handle.ref) ?? new Set()).add(from));
    const earlier = session.signedIn;
    session.signedIn = { handle, sessionId: session.id, sessionMs: SESSION_MS };
    if (earlier !== undefined && earlier.handle.subject !== subject) await process.logOut(earlier);
  }
}

/** What was asked for is what the token is for, and what its result says. */
function check(token: Pick<TokenResult, 'accessToken' | 'scopes'>, request: NormalizedRequest): Described {
  const described = describe(token.accessToken);
  assert.equal(described.target, targetName(request));
  assert.deepEqual([...token.scopes].sort(), [...described.scopes].sort());
  // The provider may leave out `b`.
  const needed = request.scopes.filter((scope) => scope !== 'b');
  assert.ok(
    needed.every((scope) => described.scopes.includes(scope)),
    `${described.scopes} is not ${needed}`,
  );
  return described;
}
