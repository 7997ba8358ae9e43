import type { SessionData, Store } from 'express-session';
import { StoreUnavailableError } from '../core/errors.ts';
import type { Events, Logger } from '../core/ports.ts';
import { startDeadline } from './deadline.ts';
import { RECORD_PREFIX } from './record-ids.ts';
import type { StoreDeadlines } from './session-store-calls.ts';
import { isMissing } from './store-call.ts';

type Done = (error?: unknown, session?: SessionData | null) => void;

function isFault(error: unknown): boolean {
  return Boolean(error) && !isMissing(error) && !(error instanceof StoreUnavailableError);
}

/**
 * Gives the calls a deadline that express-session makes by itself: a request waits for its session before it reaches
 * any middleware, and its answer for the save. A client's own timeout does not do: node-redis counts what it writes
 * as activity, so that a Redis that hangs holds every request for as long as others keep coming.
 *
 * Our own records have deadlines of their own.
 */
export function limitStore(
  store: Store,
  { readMs, writeMs }: StoreDeadlines,
  { events, logger }: { events: Events; logger: Logger },
): void {
  const { get, set, destroy, touch } = store;

  const within = (deadlineMs: number, what: string, done: Done): Done => {
    let isOver = false;
    const end: Done = (...answer) => {
      if (isOver) return;
      isOver = true;
      cancel();
      const [error, ...rest] = answer;
      done(
        isFault(error) ? new StoreUnavailableError(`The session store could not ${what}.`, error) : error,
        ...rest,
      );
    };
    const cancel = startDeadline(deadlineMs, () => {
      events.storeTimedOut({});
      end(new StoreUnavailableError(`The session store did not ${what} within ${deadlineMs} ms.`));
    });
    return end;
  };
  const limited = <D extends Done | undefined>(id: string, deadlineMs: number, what: string, done: D): D =>
    typeof done !== 'function' || id.startsWith(RECORD_PREFIX) ? done : (within(deadlineMs, what, done) as D);

  store.get = (id: string, done: Done) => get.call(store, id, limited(id, readMs, 'read the session', done));
  store.set = (id: string, session: SessionData, done?: Done) =>
    set.call(store, id, session, limited(id, writeMs, 'save the session', done));
  store.destroy = (id: string, done?: Done) =>
    destroy.call(store, id, limited(id, writeMs, 'destroy the session', done));
  if (touch) {
    // The answer is on its way. On an error Express would cut the connection, which may carry the next request by now.
    const goOn = (done: Done): Done =>
      within(writeMs, 'keep the session', (error) => {
        if (error) logger.warn('A session was not kept longer', { error: (error as Error).message });
        done();
      });
    store.touch = (id: string, session: SessionData, done?: Done) =>
      touch.call(store, id, session, done && goOn(done));
  }
}
