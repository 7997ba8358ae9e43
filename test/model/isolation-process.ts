import type fc from 'fast-check';
import type { BoundedCache, MemoryScope, TokenMemory, TokenStore } from '../../src/core/ports.ts';
import type { SignedIn } from '../../src/core/session-handle.ts';
import type { CachedToken } from '../../src/core/token-cache.ts';
import type { Provider } from '../../src/protocol/provider.ts';
import { AccessTokenMemory } from '../../src/storage/access-token-memory.ts';
import { PlainCipher } from '../../src/storage/encryption.ts';
import { CodeAcquisition } from '../../src/tokens/acquire-by-code.ts';
import { AppAcquisition } from '../../src/tokens/acquire-for-app.ts';
import { OnBehalfOfAcquisition } from '../../src/tokens/acquire-on-behalf-of.ts';
import { SilentAcquisition, type TokenResult } from '../../src/tokens/acquire-silent.ts';
import { CacheRecords } from '../../src/tokens/cache-records.ts';
import { ProviderGate } from '../../src/tokens/provider-gate.ts';
import { Refresher } from '../../src/tokens/refresh.ts';
import { signOut } from '../../src/tokens/sign-out.ts';
import { recordEvents } from '../storage/engine-support.ts';
import type { Actor, Turns } from './scheduler.ts';
import { SimulatedStore } from './simulated-store.ts';

/** What one process of an app has for tokens of every kind. */
export interface Process {
  readonly silent: SilentAcquisition;
  readonly byCode: CodeAcquisition;
  readonly app: AppAcquisition;
  readonly onBehalfOf: OnBehalfOfAcquisition;
  logOut(session: SignedIn): Promise<unknown>;
  /** All that it remembers of tokens is evicted. */
  forget(): void;
}

const logger = { debug() {}, info() {}, warn() {}, error() {} };
const cipher = new PlainCipher();
const settings = {
  grantTimeoutMs: 25_000,
  defaultLifetime: 300,
  callerTimeoutMs: 60_000,
  clockTolerance: 30,
  maxRetryAfterMs: 60_000,
};

/** It goes on from run to run. */
export const clock = { seconds: 1_800_000_000, now: () => clock.seconds };

/** By process. They are made once, for each has room for 50,000 tokens. */
const memories = [0, 1].map(() => new AccessTokenMemory<TokenResult>(clock));

/** One of the processes over these records, put together as `auth()` does it. */
export function openProcess(number: number, provider: Provider, store: TokenStore): Process {
  const events = recordEvents();
  const records = new CacheRecords(store, cipher, { maxTokens: 250, maxBytes: 1e6 }, events);
  const memory = new ForgetfulMemory(number);
  const forgetful = [forgetfulCache(), forgetfulCache()] as const;
  const random = () => 0.5;
  const common = { provider, records, clock, logger, events, settings, random, memory };
  const gate = new ProviderGate(common);
  return {
    silent: new SilentAcquisition({ ...common, refresher: new Refresher({ ...common, gate }) }),
    byCode: new CodeAcquisition({ ...common, client: 'web-app' }),
    app: new AppAcquisition({ ...common, gate, cache: forgetful[0], cipher, client: 'web-app' }),
    onBehalfOf: new OnBehalfOfAcquisition({ ...common, gate, cache: forgetful[1], grant: 'token_exchange' }),
    logOut: ({ handle }) => signOut(common, handle),
    forget: () => {
      for (const remembered of [memory, ...forgetful]) remembered.evict();
    },
  };
}

/** The records of all sessions, shared by the processes. */
export class SimulatedRecords {
  readonly #turns: Turns;
  readonly #records = new Map<string, SimulatedStore>();

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  for(actor: Actor): TokenStore {
    const record = (ref: string) => {
      const found = this.#records.get(ref) ?? new SimulatedStore(this.#turns, 0);
      this.#records.set(ref, found);
      return found.for(actor);
    };
    return {
      load: (ref) => record(ref).load(ref),
      acquire: (ref, seen) => record(ref).acquire(ref, seen),
      commit: (ref, commit) => record(ref).commit(ref, commit),
      renew: (ref, version, ttlMs) => record(ref).renew(ref, version, ttlMs),
      remove: (ref) => record(ref).remove(ref),
    };
  }
}

/** The real memory of a process; what was put in before an eviction is not found any more. */
class ForgetfulMemory implements TokenMemory<TokenResult> {
  static #generations = 0;
  readonly #memory: AccessTokenMemory<TokenResult>;
  #generation = 0;

  constructor(process: number) {
    this.#memory = memories[process]!;
    this.evict();
  }

  evict(): void {
    ForgetfulMemory.#generations += 1;
    this.#generation = ForgetfulMemory.#generations;
  }

  get(scope: MemoryScope, requestKey: string): TokenResult | undefined {
    return this.#memory.get(scope, `${this.#generation} ${requestKey}`);
  }

  put(scope: MemoryScope, requestKey: string, value: TokenResult, until: number, bytes: number): void {
    this.#memory.put(scope, `${this.#generation} ${requestKey}`, value, until, bytes);
  }

  forget(ref: string): void {
    this.#memory.forget(ref);
  }
}

function forgetfulCache(): BoundedCache<CachedToken> & { evict(): void } {
  const tokens = new Map<string, CachedToken>();
  return {
    get: (key) => tokens.get(key),
    set: (key, token) => void tokens.set(key, token),
    delete: (key) => void tokens.delete(key),
    evict: () => tokens.clear(),
  };
}

/** Steps in the order that fast-check picks. */
export function turnsOf(scheduler: fc.Scheduler): Turns {
  return {
    async turn(actor, label, { isEnabled = () => true } = {}) {
      do await scheduler.schedule(Promise.resolve(), `${actor.name} ${label}`);
      while (!isEnabled());
    },
    note() {},
    pick: (_label, [first]) => first as never,
  };
}
