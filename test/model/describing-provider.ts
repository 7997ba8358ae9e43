import { ClientSecretPost, Configuration, type CustomFetch, customFetch } from 'openid-client';
import type { Connection, Provider } from '../../src/protocol/provider.ts';
import { exchangeFetch } from '../../src/protocol/token-response.ts';
import type { Actor, Turns } from './scheduler.ts';
import { ISSUER } from './simulated-provider.ts';

/** What a token says of itself: whose it is, for what, and from what it was made. */
export interface Described {
  readonly id: number;
  readonly subject: string;
  readonly target: string;
  readonly scopes: readonly string[];
  /** The sign-in it comes from; the incoming token of an on-behalf-of grant; nothing for the app's own. */
  readonly from: string;
}

/** What happens to one request of the token endpoint. */
export const ANSWERS = [
  'good',
  'with ID token',
  'with the ID token of another user',
  'without scope',
  'with less scope',
  'without refresh token',
  'lost',
  'invalid_grant',
  'invalid_scope',
  'consent_required',
  '500',
  '503',
] as const;
export type AnswerKind = (typeof ANSWERS)[number];

const SERVER = {
  issuer: ISSUER,
  token_endpoint: `${ISSUER}/token`,
  revocation_endpoint: `${ISSUER}/revoke`,
};
const LIFETIME = 600;
const YEAR_2096 = 4_000_000_000;

export function describe(token: string): Described {
  return JSON.parse(Buffer.from(token, 'base64url').toString());
}

/** The name of what a token is for. */
export function targetName({
  resource,
  audience,
}: {
  resource?: string | undefined;
  audience?: string | undefined;
}): string {
  return `${resource ?? '-'} ${audience ?? '-'}`;
}

/** A token endpoint that answers each request for what it asks, whenever its turn comes, with tokens that say so. */
export class DescribingProvider {
  readonly #turns: Turns;
  readonly #answers: Iterator<AnswerKind>;
  #count = 0;

  constructor(turns: Turns, answers: Iterator<AnswerKind>) {
    this.#turns = turns;
    this.#answers = answers;
  }

  /** An access token, a refresh token, or one that an API is called with. */
  issue(token: Omit<Described, 'id'>): string {
    this.#count += 1;
    return Buffer.from(JSON.stringify({ ...token, id: this.#count })).toString('base64url');
  }

  /** What an app's process knows of it. */
  for(actor: Actor): Provider {
    const config = new Configuration(SERVER, 'web-app', undefined, ClientSecretPost('secret'));
    config[customFetch] = exchangeFetch((url, init) => this.#fetch(actor, url, init)) as CustomFetch;
    const keys = { verify: async () => undefined };
    const connection = { config, server: SERVER, keys } as unknown as Connection;
    return { connect: async () => connection } as unknown as Provider;
  }

  async #fetch(actor: Actor, url: string, init: RequestInit): Promise<Response> {
    await this.#turns.turn(actor, 'reaches the provider');
    if (url === SERVER.revocation_endpoint) return new Response('');
    const kind = this.#answers.next().value as AnswerKind;
    const answer = this.#answer(new URLSearchParams(String(init.body)), kind);
    await this.#turns.turn(actor, `hears from the provider: ${kind}`);
    if (kind === 'lost') throw new TypeError('terminated', { cause: { code: 'ECONNRESET' } });
    return answer;
  }

  #answer(parameters: URLSearchParams, kind: AnswerKind): Response {
    if (kind === '500') return new Response('<h1>Oops</h1>', { status: 500 });
    if (kind === '503') return new Response('', { status: 503, headers: { 'retry-after': '1' } });
    if (kind.includes('_')) return Response.json({ error: kind }, { status: 400 });
    return Response.json(this.#tokens(parameters, kind));
  }

  #tokens(parameters: URLSearchParams, kind: AnswerKind): object {
    const given = parameters.get('refresh_token') ?? parameters.get('subject_token');
    const source = given === null ? undefined : describe(given);
    const isRefresh = parameters.has('refresh_token');
    const isForeign = kind === 'with the ID token of another user' && isRefresh;
    const subject = isForeign ? 'somebody else' : (source?.subject ?? 'the app');
    const from = isRefresh ? String(source?.from) : String(given ?? '');
    const asked = parameters.get('scope')?.split(' ') ?? source?.scopes ?? [];
    const granted = asked.filter(
      (scope) => scope !== 'openid' && !(kind === 'with less scope' && scope === 'b'),
    );
    const target = targetName({
      resource: parameters.get('resource') ?? undefined,
      audience: parameters.get('audience') ?? undefined,
    });
    const owner = { subject, from };
    const refreshToken = { ...owner, target: '', scopes: source?.scopes ?? [] };
    return {
      access_token: this.issue({ ...owner, target, scopes: granted }),
      token_type: 'bearer',
      expires_in: LIFETIME,
      ...(kind === 'without scope' ? {} : { scope: granted.join(' ') }),
      ...(isRefresh && kind !== 'without refresh token' ? { refresh_token: this.issue(refreshToken) } : {}),
      ...(isRefresh && kind.includes('ID token') ? { id_token: idToken(subject) } : {}),
    };
  }
}

function idToken(sub: string): string {
  const claims = { iss: ISSUER, aud: 'web-app', sub, iat: 1_700_000_000, exp: YEAR_2096 };
  const parts = [{ alg: 'RS256' }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString('base64url'),
  );
  return `${parts.join('.')}.c2lnbmF0dXJl`;
}
