import { StoreUnavailableError } from '../../src/core/errors.ts';
import type { Commit, CommitResult, Lease, StoredRecord, TokenStore } from '../../src/core/ports.ts';
import type { TokenCache } from '../../src/core/token-cache.ts';
import type { Actor, Turns } from './scheduler.ts';

/** The record of one session as both engines promise to keep it: version, lease, tombstone, each call in one step. */
export class SimulatedStore {
  /** Every version there was. */
  readonly versions: { version: number; cache: TokenCache }[] = [];
  isTombstone = false;
  holder: Actor | undefined;
  /** Holders whose lease ended while they had it. */
  readonly outlasted = new Set<Actor>();
  readonly #scheduler: Turns;
  #record: StoredRecord = { state: 'absent' };
  #commitFaults: number;

  constructor(scheduler: Turns, commitFaults: number) {
    this.#scheduler = scheduler;
    this.#commitFaults = commitFaults;
  }

  get version(): number {
    return this.#record.state === 'present' ? this.#record.version : 0;
  }

  get state(): StoredRecord['state'] {
    return this.#record.state;
  }

  get newest(): TokenCache | undefined {
    return this.versions.at(-1)?.cache;
  }

  /** All that what follows depends on. */
  get fingerprint(): unknown[] {
    const names = [...this.outlasted].map(({ name }) => name).sort();
    return [this.#record.state, this.version, this.newest, this.holder?.name, names, this.#commitFaults];
  }

  /** The lease runs out under its holder. */
  endLease(): void {
    if (this.holder !== undefined) this.outlasted.add(this.holder);
    this.holder = undefined;
  }

  for(actor: Actor): TokenStore {
    const turn = (label: string, isEnabled?: () => boolean) =>
      this.#scheduler.turn(actor, label, isEnabled === undefined ? {} : { isEnabled });
    const noteSeen = () => this.#scheduler.note(actor, `${this.#record.state} ${this.version}`);
    return {
      load: async () => {
        await turn('loads');
        noteSeen();
        return this.#record;
      },
      acquire: async (_ref, seen) => {
        const isNewer = () => this.#record.state !== 'present' || this.#record.version > seen;
        await turn('asks for the lease', () => isNewer() || this.holder === undefined);
        noteSeen();
        return this.#lease(actor, isNewer());
      },
      commit: async (_ref, commit) => {
        await turn('commits');
        return this.#commitOrFail(actor, commit);
      },
      renew: async () => turn('renews'),
      remove: async () => {
        await turn('logs out');
        noteSeen();
        const before = this.#record;
        this.#record = { state: 'tombstone' };
        this.isTombstone = true;
        return before;
      },
    };
  }

  #lease(actor: Actor, isNewer: boolean): Lease {
    if (isNewer) return { record: this.#record, isHeld: false, release: async () => undefined };
    this.holder = actor;
    this.outlasted.delete(actor);
    const release = async () => {
      await this.#scheduler.turn(actor, 'gives the lease back');
      if (this.holder === actor) this.holder = undefined;
    };
    return { record: this.#record, isHeld: true, release };
  }

  #commitOrFail(actor: Actor, commit: Commit): CommitResult {
    const fault =
      this.#commitFaults > 0
        ? this.#scheduler.pick('the store', ['commits', 'refuses', 'commits and says nothing'] as const)
        : 'commits';
    if (fault !== 'commits') this.#commitFaults -= 1;
    this.#scheduler.note(actor, fault);
    if (fault === 'refuses') throw new StoreUnavailableError('no');
    const result = this.#commit(commit);
    this.#scheduler.note(actor, result);
    if (fault !== 'commits') throw new StoreUnavailableError('timeout');
    return result;
  }

  #commit({ expected, payload, ttlMs }: Commit): CommitResult {
    if (this.#record.state === 'tombstone') return 'tombstone';
    if (this.#record.state === 'present' && this.#record.payload === payload) return 'committed';
    if (this.version !== expected) return 'newer';
    this.#record = { state: 'present', version: expected + 1, payload, remainingMs: ttlMs };
    this.versions.push({ version: expected + 1, cache: readPayload(payload) });
    return 'committed';
  }
}

/** What `PlainCipher` wrote. */
function readPayload(payload: string): TokenCache {
  return JSON.parse(Buffer.from(String(payload.split('.')[2]), 'base64url').toString());
}
