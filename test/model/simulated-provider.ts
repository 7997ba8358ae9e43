import { ClientSecretPost, Configuration, type CustomFetch, customFetch } from 'openid-client';
import type { Connection, Provider } from '../../src/protocol/provider.ts';
import { exchangeFetch } from '../../src/protocol/token-response.ts';
import type { Actor, Scheduler } from './scheduler.ts';

export const ISSUER = 'https://op.example';

const SERVER = {
  issuer: ISSUER,
  token_endpoint: `${ISSUER}/token`,
  revocation_endpoint: `${ISSUER}/revoke`,
};

/** Between the moment a request leaves and the moment its answer is there, or is known to be lost. */
interface Flight {
  readonly actor: Actor;
  readonly refreshToken: string;
}

/**
 * A token endpoint that rotates: a refresh token is good once, and presenting it again revokes the whole grant;
 * with grace it is good again for as long as a run takes.
 */
export class SimulatedProvider {
  readonly flights = new Set<Flight>();
  /** What was issued with an access token. */
  readonly issued = new Map<string, string>();
  readonly presented: { actor: string; refreshToken: string }[] = [];
  readonly rejected: string[] = [];
  /** Refresh tokens whose answer was lost on its way. */
  readonly lost: string[] = [];
  /** Called when a request leaves. */
  onSent: () => void = () => undefined;
  readonly #scheduler: Scheduler;
  readonly #hasGrace: boolean;
  readonly #valid = new Set<string>();
  readonly #forgiven = new Set<string>();
  readonly #spent = new Set<string>();
  #answersToLose: number;
  #count = 0;

  constructor(
    scheduler: Scheduler,
    { hasGrace, answersToLose }: { hasGrace: boolean; answersToLose: number },
  ) {
    this.#scheduler = scheduler;
    this.#hasGrace = hasGrace;
    this.#answersToLose = answersToLose;
  }

  /** A new refresh token and its access token, as from a login. */
  issue(): { accessToken: string; refreshToken: string } {
    this.#count += 1;
    const [accessToken, refreshToken] = [`at-${this.#count}`, `rt-${this.#count}`];
    this.#valid.add(refreshToken);
    this.issued.set(accessToken, refreshToken);
    return { accessToken, refreshToken };
  }

  /** All that what follows depends on. */
  get fingerprint(): unknown[] {
    const sets = [this.#valid, this.#spent, this.#forgiven].map((tokens) => [...tokens].sort());
    return [sets, this.#count, this.#answersToLose];
  }

  /** Refresh tokens that are still good. */
  get good(): readonly string[] {
    return [...this.#valid];
  }

  /** The time of grace is over. */
  endGrace(): void {
    this.#forgiven.clear();
  }

  /** What an app's process knows of it. */
  for(actor: Actor): Provider {
    const config = new Configuration(SERVER, 'web-app', undefined, ClientSecretPost('secret'));
    config[customFetch] = exchangeFetch((url, init) => this.#fetch(actor, url, init)) as CustomFetch;
    const connection = { config, server: SERVER } as unknown as Connection;
    return { connect: async () => connection } as unknown as Provider;
  }

  async #fetch(actor: Actor, url: string, init: RequestInit): Promise<Response> {
    const parameters = new URLSearchParams(String(init.body));
    if (url === SERVER.revocation_endpoint) {
      this.#revoke(String(parameters.get('token')));
      return new Response('');
    }
    const refreshToken = String(parameters.get('refresh_token'));
    const flight = { actor, refreshToken };
    this.flights.add(flight);
    this.onSent();
    await this.#scheduler.turn(actor, 'reaches the provider', { isOnTheWire: true });
    const answer = this.#answer(actor, refreshToken, parameters.get('scope') ?? '');
    this.#scheduler.note(actor, JSON.stringify(answer));
    await this.#scheduler.turn(actor, 'hears from the provider');
    this.flights.delete(flight);
    if (this.#answersToLose > 0 && this.#scheduler.pick('the answer', ['comes', 'is lost']) === 'is lost') {
      this.#answersToLose -= 1;
      this.lost.push(refreshToken);
      this.#scheduler.note(actor, 'lost');
      throw new TypeError('terminated', { cause: { code: 'ECONNRESET' } });
    }
    const headers = { 'content-type': 'application/json' };
    return new Response(JSON.stringify(answer), { status: 'error' in answer ? 400 : 200, headers });
  }

  /** The whole grant, as providers do. */
  #revoke(refreshToken: string): void {
    if (!this.#valid.has(refreshToken)) return;
    this.#valid.clear();
    this.#forgiven.clear();
  }

  #answer(actor: Actor, refreshToken: string, scope: string): object {
    this.presented.push({ actor: actor.name, refreshToken });
    const isGood = this.#valid.has(refreshToken) || this.#forgiven.has(refreshToken);
    if (!isGood) {
      if (this.#spent.has(refreshToken)) this.#valid.clear();
      this.rejected.push(refreshToken);
      return { error: 'invalid_grant' };
    }
    this.#valid.delete(refreshToken);
    this.#spent.add(refreshToken);
    if (this.#hasGrace) this.#forgiven.add(refreshToken);
    const issued = this.issue();
    return {
      access_token: issued.accessToken,
      refresh_token: issued.refreshToken,
      token_type: 'bearer',
      expires_in: 600,
      scope,
    };
  }
}
