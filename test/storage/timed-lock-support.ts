import { MemoryStore, type Store } from 'express-session';
import { SessionStoreCalls } from '../../src/storage/session-store-calls.ts';
import { type HeldLock, TimedLock } from '../../src/storage/timed-lock.ts';
import { restoreTime } from '../support/time.ts';
import { recordEvents } from './engine-support.ts';

const DEADLINES = { readMs: 5000, writeMs: 5000 };

export function callsOf(store: Store): SessionStoreCalls {
  return new SessionStoreCalls(store, DEADLINES, recordEvents());
}

const taken: HeldLock[] = [];

/** A lock that beats no longer than its test. */
export class ReleasedLock extends TimedLock {
  override async tryTake(name: string): Promise<HeldLock | undefined> {
    const held = await super.tryTake(name);
    if (held !== undefined) taken.push(held);
    return held;
  }
}

/** For `afterEach`. */
export async function releaseAll(): Promise<void> {
  await Promise.all(taken.splice(0).map((held) => held.release()));
  restoreTime();
}

/** What a store was asked to do, when, and how long it took. */
export interface Traffic {
  operation: 'get' | 'set';
  id: string;
  record: Record<string, unknown> | undefined;
  startedAt: number;
  endedAt: number;
}

/** A store whose operations can be watched and held back one by one. */
export class GatedStore extends MemoryStore {
  readonly traffic: Traffic[] = [];
  /** What an operation waits for before it reaches the store. */
  gate: (
    operation: 'get' | 'set',
    record: Record<string, unknown> | undefined,
  ) => Promise<unknown> | undefined = () => undefined;

  override get(id: string, done: Parameters<Store['get']>[1]): void {
    void this.#pass('get', id, undefined, (end) =>
      super.get(id, (error, record) => {
        end();
        done(error, record);
      }),
    );
  }

  override set(id: string, record: Parameters<Store['set']>[1], done?: Parameters<Store['set']>[2]): void {
    void this.#pass('set', id, record as unknown as Record<string, unknown>, (end) =>
      super.set(id, record, (error) => {
        end();
        done?.(error);
      }),
    );
  }

  async #pass(
    operation: 'get' | 'set',
    id: string,
    record: Record<string, unknown> | undefined,
    run: (end: () => void) => void,
  ): Promise<void> {
    const startedAt = performance.now();
    await this.gate(operation, record);
    run(() => this.traffic.push({ operation, id, record, startedAt, endedAt: performance.now() }));
  }
}

export const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
