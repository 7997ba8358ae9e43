import type { Store } from 'express-session';
import type { Logger, TokenStore, TransactionStore } from '../core/ports.ts';
import { SessionGuard } from './session-guard.ts';
import { SessionStoreCalls, type StoreDeadlines } from './session-store-calls.ts';
import { SessionTokenStore, SessionTransactionStore } from './session-token-store.ts';

/** Everything that is kept beside the sessions of one store. */
export interface StoreBinding {
  readonly tokens: TokenStore;
  readonly transactions: TransactionStore;
  readonly guard: SessionGuard;
}

const bindings = new WeakMap<Store, StoreBinding>();

/** One binding per store and process: two middlewares over one store must not refresh beside each other. */
export function bindStore(
  store: Store,
  options: { deadlines: StoreDeadlines; logger: Logger; handleField: string },
): StoreBinding {
  const existing = bindings.get(store);
  if (existing !== undefined) return existing;
  const calls = new SessionStoreCalls(store, options.deadlines);
  const tokens = new SessionTokenStore(calls);
  const binding = {
    tokens,
    transactions: new SessionTransactionStore(calls),
    guard: new SessionGuard(store, tokens, options.logger, options.handleField),
  };
  bindings.set(store, binding);
  return binding;
}
