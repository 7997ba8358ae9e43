import { isRecord } from './cache-codec.ts';
import type { ScopeSet } from './scopes.ts';
import type { Target } from './token-request.ts';

const VERSION = 1;

/** How long a login may take. */
export const TRANSACTION_SECONDS = 900;

/** How many logins of one browser may be pending. */
const MAX_PENDING = 10;

/** One pending authorization request. */
export interface Transaction {
  /** `login`: the user came through the login route; `challenge`: a token or a guard asked. */
  readonly kind: 'login' | 'challenge';
  readonly nonce: string;
  readonly verifier: string;
  /** The value in the session of the browser that started it. */
  readonly browser: string;
  /** A path of the app. */
  readonly returnTo: string;
  /** Names the POST to that path that is replayed there. */
  readonly postId?: string | undefined;
  /** What the authorization request asked for. */
  readonly scopes: ScopeSet;
  readonly resources: readonly string[];
  /** What the code is redeemed for. */
  readonly target: Target;
  /** Of the authorization request, as JSON text. */
  readonly claims?: string | undefined;
  /** What the sign-in that comes back should be (RFC 9470): one of these classes, and this recent, in seconds. */
  readonly acrValues?: string | undefined;
  readonly maxAge?: number | undefined;
  /** Equal for challenges that ask the same for the same URL. */
  readonly loopKey?: string | undefined;
  readonly createdAt: number;
}

/** A restarted login says so in its state, and how often: else it would be a loop. No random text has a dot. */
const RESTARTED = 'r.';

export function newState(random: string, restarts: number): string {
  return RESTARTED.repeat(restarts) + random;
}

export function restartsOf(state: string): number {
  return state.split(RESTARTED).length - 1;
}

export function encodeTransaction(transaction: Transaction): string {
  return JSON.stringify({ v: VERSION, ...transaction });
}

/** Undefined for an unknown version and for one that is older than 15 minutes. */
export function decodeTransaction(text: string, now: number): Transaction | undefined {
  const value: unknown = JSON.parse(text);
  if (!isRecord(value) || value.v !== VERSION) return undefined;
  const { v: _version, ...transaction } = value;
  if (typeof transaction.createdAt !== 'number' || transaction.createdAt + TRANSACTION_SECONDS < now)
    return undefined;
  return transaction as unknown as Transaction;
}

/** Adds a pending state; what is over the cap falls out, the oldest first. */
export function addPending(
  states: readonly string[],
  state: string,
): { states: string[]; dropped: string[] } {
  const all = [...states.filter((other) => other !== state), state];
  return { states: all.slice(-MAX_PENDING), dropped: all.slice(0, -MAX_PENDING) };
}

/** How often a challenge led to a successful login, and when last. */
export interface LoopCount {
  readonly key: string;
  readonly count: number;
  readonly at: number;
  /** The sign-in was not what it was asked to be. */
  readonly isUndelivered?: boolean;
}

/** A challenge this long after its login is a new one: what it asked for was of use meanwhile. */
const LOOP_WINDOW_SECONDS = 30;
const MAX_LOOP_COUNT = 3;
const MAX_LOOP_KEYS = 10;

export function countLoop(
  counts: readonly LoopCount[],
  key: string,
  now: number,
  isUndelivered = false,
): LoopCount[] {
  const earlier = counts.find((entry) => entry.key === key && now - entry.at <= LOOP_WINDOW_SECONDS);
  const others = counts.filter((entry) => entry.key !== key && now - entry.at <= LOOP_WINDOW_SECONDS);
  const entry = {
    key,
    count: (earlier?.count ?? 0) + 1,
    at: now,
    ...(isUndelivered ? { isUndelivered } : {}),
  };
  return [...others, entry].slice(-MAX_LOOP_KEYS);
}

/**
 * Whether the same challenge comes once more right after its login, so that another would not help. `undelivered`: it
 * asks for a level that did not come the first time and will not come the third, or for one that is there and does not
 * help. One that came and is gone again, grown old or replaced by another, will come again.
 *
 * @param stepUp undefined: no level is asked for. `delivered`: the sign-in has it.
 */
export function loopOf(
  counts: readonly LoopCount[],
  key: string,
  now: number,
  stepUp: 'delivered' | 'missing' | undefined,
): 'loop' | 'undelivered' | undefined {
  const entry = counts.find(
    (candidate) => candidate.key === key && now - candidate.at <= LOOP_WINDOW_SECONDS,
  );
  if (entry === undefined) return undefined;
  if (stepUp === 'delivered' || (stepUp === 'missing' && entry.isUndelivered)) return 'undelivered';
  return entry.count >= MAX_LOOP_COUNT ? 'loop' : undefined;
}
