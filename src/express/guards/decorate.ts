import type { IncomingMessage, ServerResponse } from 'node:http';
import type { NextFunction, Request, Response } from 'express';
import { refuseRequest } from '../option-values.ts';

/**
 * A guard as a middleware, for any place that takes a `RequestHandler`. It asks nothing of the request's type: with one
 * that names `params`, Express's types forget those of the path, and `req.params.id` is not a string any more.
 */
export type RouteGuard = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void;

/** Asks whether a request may go on. False: the guard has answered. */
export type Guard = (req: Request, res: Response, next: NextFunction) => Promise<boolean> | boolean;

/**
 * One guard, two forms: a middleware, or around a handler, whose rejections it forwards on Express 4 too.
 */
export function guardHandler(
  name: string,
  guard: Guard,
  handler: ((req: never, res: Response, next: NextFunction) => unknown) | undefined,
): RouteGuard {
  const guarded: RouteGuard = async (req, res, next) => {
    try {
      if (!(await guard(req as Request, res as Response, next))) return;
      if (handler === undefined) next();
      else await handler(req as never, res as Response, next);
    } catch (error) {
      next(error);
    }
  };
  Object.defineProperty(guarded, 'name', { value: name });
  return guarded;
}

export function checkHandler(handler: unknown, what: string): void {
  refuseRequest(handler, what);
  if (handler !== undefined && typeof handler !== 'function')
    throw new TypeError(`${what} takes a handler function as its last argument`);
}
