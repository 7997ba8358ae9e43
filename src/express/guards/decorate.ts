import type { NextFunction, Request, RequestHandler, Response } from 'express';

/** Asks whether a request may go on. False: the guard has answered. */
export type Guard = (req: Request, res: Response, next: NextFunction) => Promise<boolean> | boolean;

/**
 * One guard, two forms: a middleware, or around a handler, whose rejections it forwards on Express 4 too.
 */
export function guardHandler(
  name: string,
  guard: Guard,
  handler: ((req: never, res: Response, next: NextFunction) => unknown) | undefined,
): RequestHandler {
  const guarded = async (req: Request, res: Response, next: NextFunction): Promise<void> => {
    try {
      if (!(await guard(req, res, next))) return;
      if (handler === undefined) next();
      else await handler(req as never, res, next);
    } catch (error) {
      next(error);
    }
  };
  Object.defineProperty(guarded, 'name', { value: name });
  return guarded;
}

export function checkHandler(handler: unknown, what: string): void {
  if (handler !== undefined && typeof handler !== 'function')
    throw new TypeError(`${what} takes a handler function as its last argument`);
}
