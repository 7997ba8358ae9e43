import type { LogoutSubject } from '../core/logout-token.ts';
import type { BoundedCache, Cipher, Clock, Logger, SessionIndex } from '../core/ports.ts';
import type { SignedIn } from '../core/session-handle.ts';
import { isTimedOut, within } from './flights.ts';

/** Where a sign-in is: its token cache, and the session of the app that holds it. */
export interface RegisteredSession {
  readonly ref: string;
  readonly sessionId: string;
  /** The session at the provider, where the ID token named it. */
  readonly sid?: string | undefined;
}

/** What this process has registered, and when that is due again. */
export interface Registered {
  readonly sessionId: string;
  readonly sid: string | undefined;
  /** Epoch seconds. */
  readonly until: number;
}

export interface RegistryParts {
  readonly index: SessionIndex;
  readonly cipher: Cipher;
  readonly clock: Clock;
  readonly logger: Logger;
  /** By `ref`. */
  readonly registered: BoundedCache<Registered>;
  /** Distinguishes clients that share a store: issuer and client id. */
  readonly client: string;
}

const PURPOSE = 'session index';
const REGISTER_TIMEOUT_MS = 2000;
const RETRY_SECONDS = 60;

/** Which sessions of the app belong to an account, and to a session at the provider, so that the provider can end them. */
export class SessionRegistry {
  readonly #parts: RegistryParts;

  constructor(parts: RegistryParts) {
    this.#parts = parts;
  }

  /**
   * At a login and with every request; writes when the session is new to this process, has got another id, or has not
   * been written for its length. An entry lives for twice that. Never rejects: a request a minute later tries again.
   */
  async keep(session: SignedIn): Promise<void> {
    const { registered, clock, logger } = this.#parts;
    const { handle, sessionId, sessionMs } = session;
    const sid = sidOf(session);
    const known = registered.get(handle.ref);
    const isSame = known?.sessionId === sessionId && known.sid === sid;
    if (known !== undefined && isSame && clock.now() < known.until) return;
    registered.set(handle.ref, { sessionId, sid, until: clock.now() + sessionMs / 1000 });
    // Also when that fails after nobody waits for it any more.
    const registering = this.#register(session).catch((error: Error) => {
      registered.set(handle.ref, { sessionId, sid, until: clock.now() + RETRY_SECONDS });
      logger.warn("A session could not be registered for the provider's logout", { error: error.name });
    });
    if (isTimedOut(await within(registering, REGISTER_TIMEOUT_MS)))
      logger.debug("Registering a session for the provider's logout takes long");
  }

  async #register(session: SignedIn): Promise<void> {
    const { index, cipher } = this.#parts;
    const { handle, sessionId, sessionMs } = session;
    const sid = sidOf(session);
    const subjects: LogoutSubject[] = [{ kind: 'sub', value: handle.subject }];
    if (sid !== undefined) subjects.push({ kind: 'sid', value: sid });
    const entry: RegisteredSession = { ref: handle.ref, sessionId, sid };
    await Promise.all(
      subjects.map((subject) => {
        const name = this.#name(subject);
        return index.add(name, handle.ref, cipher.seal(JSON.stringify(entry), name, PURPOSE), 2 * sessionMs);
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

  /** These, and not what was registered meanwhile. */
  async forget(subject: LogoutSubject, refs: readonly string[]): Promise<void> {
    for (const ref of refs) this.#parts.registered.delete(ref);
    if (refs.length > 0) await this.#parts.index.remove(this.#name(subject), refs);
  }

  async isUsed(jti: string): Promise<boolean> {
    return (await this.#parts.index.list(this.#tokenName(jti))).length > 0;
  }

  async markUsed(jti: string, ttlMs: number): Promise<void> {
    await this.#parts.index.add(this.#tokenName(jti), jti, 'used', ttlMs);
  }

  #name({ kind, value }: LogoutSubject): string {
    return JSON.stringify([this.#parts.client, kind, value]);
  }

  #tokenName(jti: string): string {
    return JSON.stringify([this.#parts.client, 'jti', jti]);
  }
}

function sidOf({ handle }: SignedIn): string | undefined {
  const { sid } = handle.claims;
  return typeof sid === 'string' && sid !== '' ? sid : undefined;
}
