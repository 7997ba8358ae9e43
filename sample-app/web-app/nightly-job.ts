import type { AuthHandle } from 'express-oidc-tokens';
import type { ApiAccess } from '../settings.ts';
import type { StatisticsAnswer } from '../web-api/app.ts';
import type { TokenOrigin } from './token-card.ts';

/** One run, and what became of it. */
export type Run = { at: Date } & (
  | { token: Pick<TokenOrigin, 'source' | 'reason' | 'stale'>; answer: StatisticsAnswer }
  | { failure: string }
);

const KEPT = 5;

/** Work that no user asks for, with a token that belongs to no user: the app's own. */
export class NightlyJob {
  readonly #oidc: AuthHandle;
  readonly #api: ApiAccess;
  readonly #timer: NodeJS.Timeout;
  readonly #runs: Run[] = [];
  #underWay: Promise<void> | undefined;

  constructor(oidc: AuthHandle, api: ApiAccess, everySeconds: number) {
    this.#oidc = oidc;
    this.#api = api;
    this.#timer = setInterval(() => void this.run(), everySeconds * 1000);
  }

  /** The last ones, the newest first. */
  get runs(): readonly Run[] {
    return this.#runs;
  }

  /** One at a time, and never a rejection: nobody is there to see it. */
  run(): Promise<void> {
    this.#underWay ??= this.#note().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  /** No more runs; the one under way ends first. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#underWay;
  }

  async #note(): Promise<void> {
    const at = new Date();
    const outcome = await this.#fetchStatistics().catch((error: Error) => ({ failure: error.message }));
    this.#runs.unshift({ at, ...outcome });
    this.#runs.splice(KEPT);
  }

  async #fetchStatistics() {
    const { url, ...wanted } = this.#api;
    const { accessToken, ...token } = await this.#oidc.getAppToken(wanted);
    const headers = { authorization: `Bearer ${accessToken}` };
    const answer = await fetch(url, { headers, signal: AbortSignal.timeout(10_000) }).catch(
      (cause: unknown) => {
        throw new Error(`The API at ${url} did not answer.`, { cause });
      },
    );
    if (!answer.ok) throw new Error(`The API at ${url} answered ${answer.status}.`);
    return { token, answer: (await answer.json()) as StatisticsAnswer };
  }
}
