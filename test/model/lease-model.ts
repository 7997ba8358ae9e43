import type { SignedIn } from '../../src/core/session-handle.ts';
import type { TokenCache } from '../../src/core/token-cache.ts';
import { normalizeRequest } from '../../src/core/token-request.ts';
import type { Transaction } from '../../src/core/transaction.ts';
import { PlainCipher } from '../../src/storage/encryption.ts';
import { CodeAcquisition } from '../../src/tokens/acquire-by-code.ts';
import { SilentAcquisition, type TokenResult } from '../../src/tokens/acquire-silent.ts';
import { CacheRecords } from '../../src/tokens/cache-records.ts';
import { ProviderGate } from '../../src/tokens/provider-gate.ts';
import { Refresher } from '../../src/tokens/refresh.ts';
import { signOut } from '../../src/tokens/sign-out.ts';
import { recordEvents } from '../storage/engine-support.ts';
import { type Actor, type Mishap, type Path, Scheduler } from './scheduler.ts';
import { ISSUER, SimulatedProvider } from './simulated-provider.ts';
import { SimulatedStore } from './simulated-store.ts';

/*
 * The token cache's protocol under every order of events, to a bound.
 *
 * Covered: the real code of silent acquisition, the refresher with its retries and patient commits, sign-out, the
 * redemption's commit, the record codec and the rules, in processes of their own over one record; every interleaving
 * of their steps, where a step is one call of the store, a request's arrival at the provider, or its answer's arrival;
 * at every point a crash (the request on the wire arrives or does not), a lease that ends under a holder that stalls,
 * an answer of the provider that is lost, a commit that fails before or after it is done; a provider that rotates
 * strictly, or with grace.
 *
 * Not covered: how the engines keep the promises of the port (a lease, compare-and-set and a tombstone in one step
 * each: test/storage does that over real stores), two callers in one process, a session that gets a new record, a
 * store that goes back to older data, time but for the expiry of the token and the end of the grace, and more
 * processes and mishaps than a scenario names.
 */

export interface Scenario {
  /** What each process asks for. */
  readonly scopes: readonly string[];
  /** The provider takes a refresh token that was spent a moment ago. */
  readonly hasGrace?: boolean;
  /** Who else is there. */
  readonly others?: readonly ('logout' | 'step-up')[];
  /** The first process may crash. */
  readonly mayCrash?: boolean;
  /** How often a lease may end under a holder that lives. */
  readonly stalls?: number;
  readonly answersToLose?: number;
  readonly commitFaults?: number;
  /** Both ask for a new token, whatever is cached. */
  readonly isForced?: boolean;
}

/** The name of an error, and its reason; nothing where a token came. */
export type Outcome = { token?: TokenResult; error?: string };

interface Process {
  readonly actor: Actor;
  readonly silent: SilentAcquisition;
  readonly byCode: CodeAcquisition;
  readonly logOut: (session: SignedIn) => Promise<unknown>;
}

const LIFETIME = 600;
const SESSION_MS = 24 * 3_600_000;
const logger = { debug() {}, info() {}, warn() {}, error() {} };
const cipher = new PlainCipher();

/** Every process begins without anything in memory, and asks once. */
const memory = { get: () => undefined, put() {}, forget() {} };

/** One run: processes that find an expired token, and whoever else the scenario names. */
export class Run {
  readonly scenario: Scenario;
  readonly provider: SimulatedProvider;
  readonly store: SimulatedStore;
  /** By process. */
  readonly outcomes = new Map<string, Outcome>();
  /** What must not be, and was. */
  readonly violations: string[] = [];
  hasCrashed = false;
  stalls = 0;
  readonly #scheduler: Scheduler;
  #session: SignedIn | undefined;
  #now = 1_800_000_000;
  #isCalm = true;

  constructor(scenario: Scenario, path: Path) {
    const { hasGrace = false, answersToLose = 0, commitFaults = 0 } = scenario;
    this.scenario = scenario;
    this.#scheduler = new Scheduler({
      choose: (alternatives) => (this.#isCalm ? 0 : path.choose(alternatives)),
      enter: (state) => this.#isCalm || path.enter(state),
    });
    this.provider = new SimulatedProvider(this.#scheduler, { hasGrace, answersToLose });
    this.store = new SimulatedStore(this.#scheduler, commitFaults);
    this.provider.onSent = () => this.#checkFlights();
  }

  get trace(): string {
    return this.#scheduler.trace.join('\n');
  }

  /** False where an earlier run came to the same state: what follows is known. */
  async play(): Promise<boolean> {
    const { scopes, others = [] } = this.scenario;
    await this.#alone('the login', async (process) => {
      this.#session = await this.#redeem(process, undefined);
    });
    this.#now += LIFETIME + 1;
    this.#isCalm = false;
    const processes = scopes.map((_, index) => this.#open(`P${index + 1}`));
    for (const [index, process] of processes.entries())
      this.#start(process, () => this.#getToken(process, scopes[index] as string));
    if (others.includes('logout')) this.#startLogout();
    if (others.includes('step-up')) this.#startStepUp();
    const isNew = await this.#scheduler.run(this.#mishaps(processes[0]?.actor), () => this.#fingerprint());
    await surface();
    return isNew;
  }

  /**
   * What a process that starts afterwards gets, when the token has expired again and the grace is over. After a crash
   * it helps only whoever asks in time: somebody does.
   */
  async afterwards(): Promise<Outcome> {
    this.#isCalm = true;
    this.store.endLease();
    if (this.hasCrashed) await this.#laterBy(LIFETIME + 1, 'soon');
    this.provider.endGrace();
    await this.#laterBy(LIFETIME + 1, 'afterwards');
    return this.outcomes.get('afterwards') ?? {};
  }

  async #laterBy(seconds: number, name: string): Promise<void> {
    this.#now += seconds;
    await this.#alone(name, (process) => this.#getToken(process, 'a'));
  }

  #fingerprint(): string {
    const { store, provider, stalls, hasCrashed, violations } = this;
    return JSON.stringify([store.fingerprint, provider.fingerprint, stalls, hasCrashed, violations]);
  }

  #start(process: Process, work: () => Promise<void>): void {
    this.#scheduler.start(process.actor, work);
  }

  async #alone(name: string, work: (process: Process) => Promise<void>): Promise<void> {
    const process = this.#open(name);
    this.#start(process, () => work(process));
    await this.#scheduler.run();
    await surface();
  }

  #startLogout(): void {
    const process = this.#open('the logout');
    this.#start(process, async () => {
      await process.logOut(this.#session as SignedIn);
    });
  }

  /** The callback of a step-up: its code is redeemed, its tokens are to be stored. */
  #startStepUp(): void {
    const process = this.#open('the step-up');
    this.#start(process, async () => {
      this.#session = await this.#redeem(process, this.#session);
    });
  }

  async #redeem({ byCode }: Process, current: SignedIn | undefined): Promise<SignedIn> {
    const { accessToken, refreshToken } = this.provider.issue();
    const claims = { iss: ISSUER, sub: 'alice' };
    const answer = { accessToken, refreshToken, tokenType: 'bearer', expiresIn: LIFETIME, scope: 'a b' };
    const transaction = { kind: 'login', scopes: ['a', 'b', 'openid'], resources: [], target: {} };
    const handle = await byCode.store(
      { answer, claims },
      transaction as unknown as Transaction,
      current,
      SESSION_MS,
    );
    return { handle, sessionId: 'session', sessionMs: SESSION_MS };
  }

  async #getToken({ actor, silent }: Process, scopes: string): Promise<void> {
    const wasEnded = this.store.isTombstone;
    const { isForced = false } = this.scenario;
    const request = normalizeRequest(
      { scopes, forceRefresh: isForced },
      { scopes: [], target: {}, resources: {} },
    );
    try {
      const token = await silent.acquire(this.#session as SignedIn, request);
      this.outcomes.set(actor.name, { token });
      if (wasEnded) this.violations.push(`${actor.name} got a token after the logout`);
      const isStored = this.store.versions.some(({ cache }) => holds(cache, token, this.provider.issued));
      if (!isStored) this.violations.push(`${actor.name} has a token whose refresh token is not stored`);
    } catch (error) {
      const { name, reason } = error as { name: string; reason?: string };
      this.outcomes.set(actor.name, { error: reason === undefined ? name : `${name} ${reason}` });
    }
  }

  #checkFlights(): void {
    const live = [...this.provider.flights].filter(
      ({ actor }) => !actor.isCrashed && !this.store.outlasted.has(actor),
    );
    if (live.length > 1)
      this.violations.push(`${live.map(({ actor }) => actor.name).join(' and ')} refresh at once`);
  }

  #mishaps(first: Actor | undefined): Mishap[] {
    const { mayCrash = false, stalls = 0 } = this.scenario;
    const { store } = this;
    const crash: Mishap = {
      label: 'P1 crashes',
      isEnabled: () => mayCrash && !this.hasCrashed && !this.outcomes.has('P1'),
      take: () => {
        this.hasCrashed = true;
        if (first !== undefined) this.#scheduler.crash(first);
      },
    };
    const stall: Mishap = {
      label: 'the lease ends under its holder',
      isEnabled: () => this.stalls < stalls && store.holder !== undefined && !store.holder.isCrashed,
      take: () => {
        this.stalls += 1;
        store.endLease();
      },
    };
    const lapse: Mishap = {
      label: 'the lease of the crashed process ends',
      isEnabled: () => store.holder?.isCrashed === true,
      take: () => store.endLease(),
    };
    return [crash, stall, lapse];
  }

  /** Put together as `auth()` does it. */
  #open(name: string): Process {
    const actor = { name, isCrashed: false };
    const clock = { now: () => this.#now };
    const events = recordEvents();
    const records = new CacheRecords(
      this.store.for(actor),
      cipher,
      { maxTokens: 250, maxBytes: 1e6 },
      events,
    );
    const settings = {
      grantTimeoutMs: 25_000,
      defaultLifetime: 300,
      callerTimeoutMs: 60_000,
      clockTolerance: 30,
    };
    const provider = this.provider.for(actor);
    const common = { provider, records, clock, logger, events, settings, random: () => 0.5, memory };
    const gate = new ProviderGate({
      provider,
      clock,
      events,
      settings: { ...settings, maxRetryAfterMs: 60_000 },
    });
    const refresher = new Refresher({ ...common, gate });
    return {
      actor,
      silent: new SilentAcquisition({ ...common, refresher }),
      byCode: new CodeAcquisition({ ...common, client: 'web-app' }),
      logOut: ({ handle }) => signOut(common, handle),
    };
  }
}

function holds(
  cache: TokenCache,
  { accessToken }: TokenResult,
  issued: ReadonlyMap<string, string>,
): boolean {
  const refreshToken = issued.get(accessToken);
  return (
    cache.accessTokens.some((token) => token.accessToken === accessToken) &&
    cache.refreshTokens.some(({ token }) => token === refreshToken)
  );
}

/** Lets what nobody waits for come to its end: revocations. */
async function surface(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
