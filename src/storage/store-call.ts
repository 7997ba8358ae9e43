import { StoreUnavailableError } from '../core/errors.ts';
import { startDeadline } from './deadline.ts';

/** Some stores report a missing session as an error; express-session takes it as a missing session too. */
export function isMissing(error: unknown): boolean {
  return (error as { code?: unknown } | null | undefined)?.code === 'ENOENT';
}

/**
 * One call of an express-session store as a promise.
 *
 * @param what completes "The session store could not …".
 * @throws {StoreUnavailableError} when the store fails or takes longer than the deadline.
 */
export function storeCall<T = void>(
  what: string,
  deadlineMs: number,
  start: (done: (error?: unknown, value?: T) => void) => void,
  onLate?: () => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = startDeadline(deadlineMs, () => {
      onLate?.();
      reject(new StoreUnavailableError(`The session store did not ${what} within ${deadlineMs} ms.`));
    });
    const fail = (error: unknown) => {
      cancel();
      reject(new StoreUnavailableError(`The session store could not ${what}.`, error));
    };
    try {
      start((error, value) => {
        if (error) return fail(error);
        cancel();
        resolve(value as T);
      });
    } catch (error) {
      fail(error);
    }
  });
}
