import { type Answer, Browser, type Page } from '../support/browser.ts';

/** What a soak counts, and what it finds wrong. */
export interface Ledger {
  readonly counts: Map<string, number>;
  readonly faults: string[];
  /** Whether a kill explains that this user has to sign in again. */
  isExcused(user: string): boolean;
  /** What a fault's reader wants to know of this user's refreshes. */
  history(user: string): string;
  loggedIn(user: string): void;
  /** Of the provider, for all of this user's sessions. */
  logoutToken(user: string): Promise<string>;
}

export interface Outcome extends Pick<Answer, 'status' | 'text'> {
  json: Record<string, unknown>;
  /** When it was asked for. */
  askedAt: number;
}

/** Cut off by a kill, or sent to a process that had just died. */
const CUT_OFF = 502;

/** `exp` is in whole seconds. */
const TOLERANCE_MS = 1000;
const DIARY = 15;

/** The browser of one user, who notes what it is told and holds every answer to be about this user. */
export class SoakClient {
  readonly #name: string;
  readonly #app: string;
  readonly #ledger: Ledger;
  readonly #browser: Browser;
  readonly #diary: string[] = [];

  constructor(name: string, app: string, ledger: Ledger) {
    this.#name = name;
    this.#app = app;
    this.#ledger = ledger;
    this.#browser = new Browser({ account: name });
  }

  close(): void {
    this.#browser.close();
  }

  /** What a page's script does. */
  async get(path: string, method = 'GET'): Promise<Outcome> {
    const askedAt = Date.now();
    const answer = await this.#browser.fetchJson(`${this.#app}${path}`, { method }).catch(() => undefined);
    const { status = CUT_OFF, text = '', json } = answer ?? {};
    this.#note(`${path} ${status} ${status === 200 ? '' : text}`);
    return { status, text, json: (json ?? {}) as Outcome['json'], askedAt };
  }

  /** By navigation, over the provider and back where it takes that; nothing where that was cut off. */
  async visit(path: string, method = 'GET'): Promise<Page | undefined> {
    const page = await this.#browser.navigate(`${this.#app}${path}`, { method }).catch(() => undefined);
    const hops = page?.hops.map(({ status, url }) => `${status} ${new URL(url).pathname}`).join(', ');
    this.#note(`${path} ${page?.status} ${page?.status === 200 ? '' : page?.text} (${hops})`);
    return page?.status === CUT_OFF ? undefined : page;
  }

  /** What another server posts to the app; nothing where that was cut off. */
  async tell(path: string, form: Record<string, string>): Promise<number | undefined> {
    const body = new URLSearchParams(form);
    const answer = await fetch(`${this.#app}${path}`, { method: 'POST', body }).catch(() => undefined);
    await answer?.arrayBuffer().catch(() => undefined);
    this.#note(`${path} ${answer?.status}`);
    return answer?.status === CUT_OFF ? undefined : answer?.status;
  }

  /** An answer about this user, and nobody else. */
  check(path: string, { status, json, text, askedAt }: Outcome): void {
    if (status !== 200) {
      if (status === CUT_OFF) this.count('cut off');
      else if (status === 503) this.count(`503: ${json.message ?? 'no session'}`);
      else this.fault(`${path}: ${status} ${text.slice(0, 200)}`);
      return;
    }
    const { accessToken, account, subject = (account as { subject?: unknown } | undefined)?.subject } = json;
    if (subject !== this.#name) this.fault(`${path}: an answer about ${subject}`);
    if (accessToken === undefined) return;
    const [, payload = ''] = String(accessToken).split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
    if (claims.sub !== this.#name) this.fault(`${path}: an access token of ${claims.sub}`);
    if (claims.exp * 1000 < askedAt - TOLERANCE_MS) this.fault(`${path}: an access token that had expired`);
    const granted = String(claims.scope).split(' ');
    const asked = new URLSearchParams(path.split('?')[1]).get('scopes')?.split(' ') ?? [];
    if (!asked.every((scope) => granted.includes(scope)))
      this.fault(`${path}: an access token for ${granted}`);
  }

  count(what: string): void {
    this.#ledger.counts.set(what, (this.#ledger.counts.get(what) ?? 0) + 1);
  }

  fault(what: string): void {
    const story = [`${this.#name}: ${what}`, ...this.#diary, this.#ledger.history(this.#name)];
    this.#ledger.faults.push(story.join('\n'));
  }

  #note(what: string): void {
    this.#diary.push(`  ${new Date().toISOString().slice(11, 23)} ${what.slice(0, 300)}`);
    if (this.#diary.length > DIARY) this.#diary.shift();
  }
}
