import { ConfigurationError, ScopeNotGrantedError, safeText } from '../core/errors.ts';
import type { Cipher, SharedValues } from '../core/ports.ts';
import type { CachedToken } from '../core/token-cache.ts';
import { classifyFailure } from '../core/token-endpoint-outcome.ts';
import type { NormalizedRequest } from '../core/token-request.ts';
import { clientCredentials } from '../protocol/app-grants.ts';
import type { GrantResult } from '../protocol/grants.ts';
import { type GrantedParts, GrantedTokens } from './granted-tokens.ts';
import type { Acquired } from './refresh.ts';
import { failureError } from './token-errors.ts';

export interface AppParts extends GrantedParts {
  readonly cipher: Cipher;
  /** Distinguishes clients that share a store: issuer and client id. */
  readonly client: string;
}

/** Tokens of the app itself (RFC 6749 §4.4): a cache of its own, no user, no refresh token. */
export class AppAcquisition {
  readonly #parts: AppParts;
  readonly #tokens: GrantedTokens;
  #shared: SharedValues | undefined;

  constructor(parts: AppParts) {
    this.#parts = parts;
    this.#tokens = new GrantedTokens(parts);
  }

  /** From now on the app's processes share their tokens. */
  share(values: SharedValues | undefined): void {
    this.#shared ??= values;
  }

  fromMemory(request: NormalizedRequest): CachedToken | undefined {
    return this.#tokens.fromMemory(request.key, request);
  }

  acquire(request: NormalizedRequest): Promise<Acquired> {
    const asked = { scope: request.scopes.join(' '), resource: request.resource, audience: request.audience };
    const shared = this.#shared;
    return this.#tokens.acquire({
      key: request.key,
      request,
      notAfter: Number.POSITIVE_INFINITY,
      send: (context) => clientCredentials(context, asked),
      failure: (result) => appFailure(result, request),
      ...(shared === undefined ? {} : { shared: this.#sharedToken(shared, request.key) }),
    });
  }

  close(): Promise<void> {
    return this.#tokens.close();
  }

  #sharedToken(shared: SharedValues, key: string) {
    const { cipher, client, clock } = this.#parts;
    const name = `app ${client} ${key}`;
    return {
      read: async () => {
        const payload = await shared.read(name);
        const text = payload === undefined ? undefined : cipher.open(payload, name, 'app token');
        return text === undefined ? undefined : (JSON.parse(text) as CachedToken);
      },
      write: (token: CachedToken) =>
        shared.write(
          name,
          cipher.seal(JSON.stringify(token), name, 'app token'),
          (token.expiresAt - clock.now()) * 1000,
        ),
    };
  }
}

function appFailure(result: GrantResult & { ok: false }, request: NormalizedRequest): Error {
  const outcome = classifyFailure(result.failure);
  if (outcome.kind === 'scope_refused') return new ScopeNotGrantedError(request.scopes);
  if (outcome.kind === 'interaction' || outcome.kind === 'rejected') {
    const error = safeText(result.failure.error ?? outcome.kind, 80);
    return new ConfigurationError(
      `The provider issues no app token to this client (${error}). Check its grant types and scopes at the provider.`,
    );
  }
  return failureError(outcome);
}
