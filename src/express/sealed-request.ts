import { isRecord } from '../core/cache-codec.ts';
import type { Cipher, Clock } from '../core/ports.ts';
import type { LoginStart } from './start-login.ts';

interface SealedLogin {
  readonly request: NonNullable<LoginStart['request']>;
  readonly returnTo: string;
}

const PURPOSE = 'login request';
const LIFETIME_SECONDS = 24 * 60 * 60;

interface Sealing {
  readonly urlCipher: Cipher;
  readonly clock: Clock;
}

/** A login request as text for a URL, readable by this app alone. */
export function sealLoginRequest({ urlCipher, clock }: Sealing, login: SealedLogin): string {
  return urlCipher.seal(JSON.stringify({ ...login, at: clock.now() }), PURPOSE, PURPOSE);
}

/** Undefined for a text that this app did not seal, or more than a day ago. */
export function openLoginRequest({ urlCipher, clock }: Sealing, sealed: unknown): SealedLogin | undefined {
  if (typeof sealed !== 'string' || sealed.length > 16_384) return undefined;
  const text = urlCipher.open(sealed, PURPOSE, PURPOSE);
  if (text === undefined) return undefined;
  const login: unknown = JSON.parse(text);
  if (!isRecord(login) || typeof login.at !== 'number' || login.at + LIFETIME_SECONDS < clock.now())
    return undefined;
  return { request: login.request as SealedLogin['request'], returnTo: login.returnTo as string };
}
