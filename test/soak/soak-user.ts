import { setTimeout as delay } from 'node:timers/promises';
import { R1 } from '../support/provider.ts';
import { seededRandom } from '../support/stores.ts';
import { type Ledger, SoakClient } from './soak-client.ts';

/** `unknown` after a request that was cut off while it changed who is signed in. */
type State = 'in' | 'out' | 'unknown';

/** What a user does, with the upper end of each one's share. */
const OPERATIONS = [
  ['tokens', 0.6],
  ['pause', 0.7],
  ['mark', 0.8],
  ['challenge', 0.86],
  ['step-up', 0.91],
  ['logout', 0.94],
  ['provider logout', 0.96],
  ['regenerate', 1],
] as const;

const SILENT_SCOPES = ['a', 'b', 'c', 'a b', 'b c', 'a c', 'a b c'];
/** That no login asks for. */
const MORE_SCOPES = ['x', 'y', 'z'];

function pick<T>(choices: readonly T[], random: number): T {
  return choices[Math.floor(random * choices.length)] as T;
}

/** One user, who does one thing after another; which, their own random numbers say, whatever the others do. */
export class SoakUser {
  readonly #name: string;
  readonly #client: SoakClient;
  readonly #lifetimeMs: number;
  readonly #ledger: Ledger;
  readonly #random: () => number;
  #state: State = 'out';

  constructor(name: string, app: string, lifetime: number, seed: number, ledger: Ledger) {
    this.#name = name;
    this.#client = new SoakClient(name, app, ledger);
    this.#lifetimeMs = lifetime * 1000;
    this.#ledger = ledger;
    this.#random = seededRandom(seed);
  }

  close(): void {
    this.#client.close();
  }

  async step(): Promise<void> {
    // As many numbers every time, so that what happened before does not change what comes.
    const [what, which, many] = [this.#random(), this.#random(), this.#random()] as const;
    if (this.#state === 'unknown') await this.#findOut();
    const operation =
      this.#state === 'in' ? (OPERATIONS.find(([, upTo]) => what < upTo)?.[0] ?? 'tokens') : 'login';
    this.#client.count(operation);
    switch (operation) {
      case 'login':
        return this.#goTo('/login?returnTo=/', '/');
      case 'tokens':
        return this.#tokens(which, 1 + Math.floor(many * 6));
      case 'pause':
        return delay(many * 2 * this.#lifetimeMs);
      case 'mark':
        return this.#mark(which);
      case 'challenge':
        return this.#goTo(`/token?resource=${R1}&scopes=${pick(MORE_SCOPES, which)}`);
      case 'step-up':
        return this.#goTo(`/token?resource=${R1}&scopes=a&acrValues=${pick(['mfa', 'phr'], which)}`);
      case 'logout':
        return this.#logout(which, many);
      case 'provider logout':
        return this.#providerLogout(which, many);
      case 'regenerate':
        return this.#regenerate();
    }
  }

  /** After the next expiry the session still gives a token. */
  async expectAlive(): Promise<void> {
    if (this.#state === 'unknown') await this.#findOut();
    if (this.#state !== 'in') return;
    await delay(this.#lifetimeMs);
    await this.#tokens(0, 2);
  }

  async #goTo(path: string, end = path): Promise<void> {
    const askedAt = Date.now();
    const page = await this.#client.visit(path);
    const [here] = (page?.url ?? '').split('?');
    if (page?.status === 200 && here?.endsWith(end.split('?')[0] as string)) {
      if (page.hops.length > 1) this.#ledger.loggedIn(this.#name);
      this.#state = 'in';
      this.#client.check(path, { ...page, json: JSON.parse(page.text), askedAt });
      return;
    }
    this.#state = 'unknown';
    if (page === undefined || page.status === 503) this.#client.count(page ? '503' : 'cut off');
    else this.#client.fault(`${path} ended with ${page.status} at ${here}`);
  }

  /** Several tokens at once. */
  async #tokens(which: number, many: number): Promise<void> {
    const paths = Array.from({ length: many }, (_, index) => {
      const scopes = pick(SILENT_SCOPES, (which + index / many) % 1);
      return `/silent?resource=${R1}&scopes=${scopes.replaceAll(' ', '+')}`;
    });
    const outcomes = await Promise.all(paths.map((path) => this.#client.get(path)));
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status !== 401) this.#client.check(paths[index] as string, outcome);
    }
    if (!outcomes.some(({ status }) => status === 401)) return;
    this.#state = 'out';
    if (this.#ledger.isExcused(this.#name)) this.#client.count('lost to a kill');
    else this.#client.fault('the session was lost');
  }

  /** A slow request that saves the session, tokens beside it. */
  async #mark(which: number): Promise<void> {
    const path = `/mark/${Math.floor(which * 100)}`;
    const [outcome] = await Promise.all([this.#client.get(path), this.#tokens(which, 2)]);
    this.#client.check(path, outcome);
  }

  #logout(which: number, many: number): Promise<void> {
    return this.#end(which, many, async () => (await this.#client.visit('/logout', 'POST'))?.status);
  }

  /** The provider tells the app, any of its processes. */
  #providerLogout(which: number, many: number): Promise<void> {
    return this.#end(which, many, async () => {
      const token = await this.#ledger.logoutToken(this.#name);
      const status = await this.#client.tell('/backchannel-logout', { logout_token: token });
      if (status === 400) this.#client.fault('a logout token was refused');
      return status;
    });
  }

  /** While other requests of the same session are on their way; whatever these do, it stays ended. */
  async #end(which: number, many: number, logout: () => Promise<number | undefined>): Promise<void> {
    const paths = ['/mark/late', `/silent?resource=${R1}&scopes=${pick(SILENT_SCOPES, which)}`];
    const others = paths.map((path) => this.#client.get(path));
    await delay(many * 60);
    const ended = await logout();
    await Promise.all(others);
    this.#state = ended === 200 ? 'out' : 'unknown';
    if (this.#state === 'unknown') return this.#client.count(ended ? `logout ${ended}` : 'cut off');
    const { status, json } = await this.#client.get('/');
    if (status === 200 && json.subject !== null)
      this.#client.fault(`signed in as ${json.subject} after the logout`);
  }

  async #regenerate(): Promise<void> {
    const { status, json } = await this.#client.get('/regenerate', 'POST');
    this.#state = status === 200 ? 'out' : 'unknown';
    if (status === 200 && json.subject !== null) this.#client.fault('a new session id kept the sign-in');
  }

  /** A logout that was cut off may have taken the tokens and left the session. */
  async #findOut(): Promise<void> {
    for (;;) {
      const { status, json } = await this.#client.get('/');
      const token = status === 200 && json.subject !== null ? await this.#client.get('/silent') : undefined;
      if (status === 200 && ![null, this.#name].includes(json.subject as string | null))
        this.#client.fault(`signed in as ${json.subject}`);
      this.#state = token?.status === 200 ? 'in' : 'out';
      if (status === 200 && [undefined, 200, 401].includes(token?.status)) return;
      await delay(50);
    }
  }
}
