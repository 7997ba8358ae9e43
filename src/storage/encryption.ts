import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import type { Cipher } from '../core/ports.ts';

/** A key of 32 bytes and the name it goes by in the store. */
export interface RingKey {
  readonly kid: string;
  readonly key: Uint8Array;
}

const FORMAT = '1';
const PLAIN_FORMAT = '0';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * AES-256-GCM with a subkey per salt (HKDF-SHA-256), the first key of the ring sealing, all of them opening.
 *
 * An envelope is `1.kid.iv.ciphertext.tag`, each part in base64url.
 */
export class KeyRingCipher implements Cipher {
  readonly #ring: readonly RingKey[];

  constructor(ring: readonly RingKey[]) {
    this.#ring = ring;
  }

  seal(text: string, salt: string, context: string): string {
    const key = this.#ring[0] as RingKey;
    const iv = randomBytes(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', subkey(key, salt), iv);
    cipher.setAAD(Buffer.from(context));
    const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    const parts = [Buffer.from(key.kid), iv, ciphertext, cipher.getAuthTag()];
    return [FORMAT, ...parts.map((part) => part.toString('base64url'))].join('.');
  }

  open(envelope: string, salt: string, context: string): string | undefined {
    const [format, kid = '', iv = '', ciphertext = '', tag = '', ...rest] = envelope.split('.');
    if (format !== FORMAT || rest.length > 0) return undefined;
    const name = Buffer.from(kid, 'base64url').toString();
    const key = this.#ring.find((candidate) => candidate.kid === name);
    if (key === undefined) return undefined;
    try {
      const decipher = createDecipheriv('aes-256-gcm', subkey(key, salt), Buffer.from(iv, 'base64url'), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(context));
      decipher.setAuthTag(Buffer.from(tag, 'base64url'));
      const text = Buffer.concat([decipher.update(Buffer.from(ciphertext, 'base64url')), decipher.final()]);
      return text.toString('utf8');
    } catch {
      // Damaged, from another session, or moved: to us there is nothing.
      return undefined;
    }
  }
}

function subkey(key: RingKey, salt: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key.key, salt, 'express-oidc-tokens', 32));
}

/** For `allowUnencryptedTokens: true`: still bound to its session and version, but readable in the store. */
export class PlainCipher implements Cipher {
  seal(text: string, salt: string, context: string): string {
    return [PLAIN_FORMAT, bindingOf(salt, context), Buffer.from(text).toString('base64url')].join('.');
  }

  open(envelope: string, salt: string, context: string): string | undefined {
    const [format, binding, text, ...rest] = envelope.split('.');
    if (
      format !== PLAIN_FORMAT ||
      binding !== bindingOf(salt, context) ||
      text === undefined ||
      rest.length > 0
    )
      return undefined;
    return Buffer.from(text, 'base64url').toString('utf8');
  }
}

function bindingOf(salt: string, context: string): string {
  return createHash('sha256')
    .update(JSON.stringify([salt, context]))
    .digest('base64url');
}
