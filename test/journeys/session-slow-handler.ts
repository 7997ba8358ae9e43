import type { Request, Response } from 'express';
import type { SessionOptions } from 'express-session';
import type { TestApp } from '../support/app.ts';

/** What the app itself keeps in a session. */
export const dataOf = (req: Request): Record<string, unknown> =>
  req.session as unknown as Record<string, unknown>;

/** A handler that loaded the session, waits until it is told to go on, and then does something to the session. */
export class SlowHandler {
  #reached: () => void = () => {};
  #goOn: () => void = () => {};
  readonly reached = new Promise<void>((resolve) => {
    this.#reached = resolve;
  });
  readonly #told = new Promise<void>((resolve) => {
    this.#goOn = resolve;
  });

  goOn(): void {
    this.#goOn();
  }

  mount(app: TestApp, act: (req: Request) => Promise<void>): void {
    app.express.get('/slow', (req: Request, res: Response, next) => {
      this.#reached();
      this.#told.then(() => act(req)).then(() => res.json(dataOf(req).note ?? null), next);
    });
  }
}

/** A call of express-session as a promise. */
export const settled = (start: (done: (error?: unknown) => void) => void): Promise<void> =>
  new Promise<void>((resolve, reject) => start((error) => (error ? reject(error) : resolve())));

/** How a handler's changes to its session come to be saved. */
export const savingWays: [string, Partial<SessionOptions>, (req: Request) => Promise<void>][] = [
  ['nothing but its end', {}, async () => {}],
  ['resave: true', { resave: true }, async () => {}],
  ['rolling: true', { rolling: true, cookie: { maxAge: 86_400_000 } }, async () => {}],
  ['both', { resave: true, rolling: true, cookie: { maxAge: 86_400_000 } }, async () => {}],
  ['an explicit save()', {}, (req) => settled((done) => void req.session.save(done))],
  [
    'save() twice',
    {},
    async (req) => {
      await settled((done) => void req.session.save(done));
      await settled((done) => void req.session.save(done));
    },
  ],
];
