import type { LogoutDemand, LogoutSubject } from '../core/logout-token.ts';
import type { Cipher, SessionIndex } from '../core/ports.ts';
import type { SignedIn } from '../core/session-handle.ts';

/** Where a sign-in is: its token cache, and the session of the app that holds it. */
export interface RegisteredSession {
  readonly ref: string;
  readonly sessionId: string;
}

export interface RegistryParts {
  readonly index: SessionIndex;
  readonly cipher: Cipher;
  /** Distinguishes clients that share a store: issuer and client id. */
  readonly client: string;
}

const PURPOSE = 'session index';

/** Which sessions of the app belong to an account, and to a session at the provider, so that the provider can end them. */
export class SessionRegistry {
  readonly #parts: RegistryParts;

  constructor(parts: RegistryParts) {
    this.#parts = parts;
  }

  /** At a login, and whenever its tokens are stored for longer: an entry lives as long as the token cache. */
  async keep({ handle, sessionId, sessionMs }: SignedIn): Promise<void> {
    const { index, cipher } = this.#parts;
    const { sid } = handle.claims;
    const names = [this.#name({ kind: 'sub', value: handle.subject })];
    if (typeof sid === 'string' && sid !== '') names.push(this.#name({ kind: 'sid', value: sid }));
    const registered: RegisteredSession = { ref: handle.ref, sessionId };
    await Promise.all(
      names.map((name) => {
        const entry = cipher.seal(JSON.stringify(registered), name, PURPOSE);
        return index.add(name, handle.ref, entry, 2 * sessionMs);
      }),
    );
  }

  async find(subject: LogoutSubject): Promise<RegisteredSession[]> {
    const { index, cipher } = this.#parts;
    const name = this.#name(subject);
    return (await index.list(name)).flatMap((entry) => {
      const text = cipher.open(entry, name, PURPOSE);
      return text === undefined ? [] : [JSON.parse(text) as RegisteredSession];
    });
  }

  async forget(subject: LogoutSubject): Promise<void> {
    await this.#parts.index.remove(this.#name(subject));
  }

  async isUsed({ jti }: LogoutDemand): Promise<boolean> {
    return (await this.#parts.index.list(this.#tokenName(jti))).length > 0;
  }

  async markUsed({ jti }: LogoutDemand, ttlMs: number): Promise<void> {
    await this.#parts.index.add(this.#tokenName(jti), jti, 'used', ttlMs);
  }

  #name({ kind, value }: LogoutSubject): string {
    return JSON.stringify([this.#parts.client, kind, value]);
  }

  #tokenName(jti: string): string {
    return JSON.stringify([this.#parts.client, 'jti', jti]);
  }
}
