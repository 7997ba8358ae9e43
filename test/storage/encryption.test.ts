import { randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { KeyRingCipher, PlainCipher } from '../../src/storage/encryption.ts';
import { fc } from '../support/properties.ts';

const key = (kid: string) => ({ kid, key: randomBytes(32) });
const [first, second] = [key('k1'), key('k2')];
const cipher = new KeyRingCipher([first, second]);
const TEXT = '{"refreshTokens":[{"token":"rt-secret"}]}';
const SALT = 'key-in-the-session';
const CONTEXT = 'ref.7';
const sealed = cipher.seal(TEXT, SALT, CONTEXT);
const open = (envelope: string) => cipher.open(envelope, SALT, CONTEXT);
const PARTS = ['format', 'kid', 'iv', 'ciphertext', 'tag'];

/** The envelope with one part changed, as bytes. */
function changed(part: number, change: (bytes: Buffer) => Buffer): string {
  const parts = sealed.split('.');
  parts[part] = change(Buffer.from(parts[part]!, 'base64url')).toString('base64url');
  return parts.join('.');
}

test('what is sealed can be opened', () => {
  const text = fc.string({ unit: 'grapheme' });
  fc.assert(
    fc.property(text, text, text, (content, salt, context) => {
      expect(cipher.open(cipher.seal(content, salt, context), salt, context)).toBe(content);
    }),
  );
});

test('an envelope is 1.kid.iv.ciphertext.tag in base64url, and never the same twice', () => {
  expect(sealed).toMatch(/^1(\.[\w-]+){4}$/);
  const parts = sealed.split('.').map((part) => Buffer.from(part, 'base64url'));
  expect(parts[1]!.toString()).toBe('k1');
  expect(parts.slice(2).map((part) => part.length)).toEqual([12, TEXT.length, 16]);
  const again = cipher.seal(TEXT, SALT, CONTEXT).split('.');
  for (const index of [2, 3, 4]) expect(again[index]).not.toBe(sealed.split('.')[index]);
});

test('A27: nothing of the text is readable', () => {
  const bytes = Buffer.concat(sealed.split('.').map((part) => Buffer.from(part, 'base64url')));
  expect(`${sealed} ${bytes.toString('latin1')}`).not.toMatch(/refreshTokens|rt-secret/);
});

describe('A27: a damaged envelope holds nothing', () => {
  test.each(PARTS.slice(1).map((name, index) => [name, index + 1] as const))(
    'every bit of %s',
    (_name, part) => {
      const { length } = Buffer.from(sealed.split('.')[part]!, 'base64url');
      for (let bit = 0; bit < 8 * length; bit += 1) {
        const flipped = changed(part, (bytes) => {
          bytes[bit >> 3]! ^= 1 << (bit & 7);
          return bytes;
        });
        expect(open(flipped)).toBeUndefined();
      }
    },
  );

  test.each(PARTS.map((name, index) => [name, index] as const))(
    '%s shorter, longer, empty, missing',
    (_name, part) => {
      for (const change of [
        (bytes: Buffer) => bytes.subarray(1),
        (bytes: Buffer) => bytes.subarray(0, -1),
        (bytes: Buffer) => bytes.subarray(0, 4),
        (bytes: Buffer) => Buffer.concat([bytes, Buffer.from([0])]),
        () => Buffer.alloc(0),
      ])
        if (part !== 1 || change(Buffer.from('k1')).toString() !== 'k1')
          expect(open(changed(part, change))).toBeUndefined();
      expect(
        open(
          sealed
            .split('.')
            .filter((_part, index) => index !== part)
            .join('.'),
        ),
      ).toBeUndefined();
    },
  );

  test('a format of tomorrow, one part too many, parts of two envelopes', () => {
    expect(open(sealed.replace(/^1/, '2'))).toBeUndefined();
    expect(open(sealed.replace(/^1/, '0'))).toBeUndefined();
    expect(open(`${sealed}.`)).toBeUndefined();
    const other = cipher.seal(TEXT, SALT, CONTEXT).split('.');
    for (const index of [2, 3, 4])
      expect(open(sealed.split('.').with(index, other[index]!).join('.'))).toBeUndefined();
    expect(open(other.join('.'))).toBe(TEXT);
  });

  test('any text', () => {
    const part = fc.oneof(fc.constantFrom('1', '', 'azE', ...sealed.split('.')), fc.string());
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(part, { maxLength: 7 }).map((all) => all.join('.')),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expect(text === sealed ? undefined : open(text)).toBeUndefined();
      }),
    );
  });
});

describe('A27: an envelope that was moved holds nothing', () => {
  test.each([
    ['to another session', 'another-key', CONTEXT],
    ['to no session', '', CONTEXT],
    ['to another record', SALT, 'ref2.7'],
    ['to another version', SALT, 'ref.8'],
    ['the two the other way round', CONTEXT, SALT],
  ])('%s', (_name, salt, context) => {
    expect(cipher.open(sealed, salt, context)).toBeUndefined();
  });
});

describe('A27: the key ring', () => {
  test('the first key seals, all of them open', () => {
    const rotated = new KeyRingCipher([second, first]);
    expect(rotated.open(sealed, SALT, CONTEXT)).toBe(TEXT);
    const fresh = rotated.seal(TEXT, SALT, CONTEXT);
    expect(Buffer.from(fresh.split('.')[1]!, 'base64url').toString()).toBe('k2');
    expect(open(fresh)).toBe(TEXT);
  });

  test('a key that was removed, or replaced under its name, opens nothing', () => {
    expect(new KeyRingCipher([second]).open(sealed, SALT, CONTEXT)).toBeUndefined();
    expect(new KeyRingCipher([key('k1'), second]).open(sealed, SALT, CONTEXT)).toBeUndefined();
    expect(new KeyRingCipher([{ ...second, kid: 'k1' }]).open(sealed, SALT, CONTEXT)).toBeUndefined();
  });

  test('names of keys may be any text', () => {
    for (const kid of ['a.b', 'ключ', '2026-01', ' ', '1']) {
      const named = new KeyRingCipher([{ ...first, kid }]);
      expect(named.open(named.seal(TEXT, SALT, CONTEXT), SALT, CONTEXT)).toBe(TEXT);
    }
  });
});

describe('without encryption, as the app asked', () => {
  const plain = new PlainCipher();
  const readable = plain.seal(TEXT, SALT, CONTEXT);

  test('readable, and still bound to its session and version', () => {
    expect(plain.open(readable, SALT, CONTEXT)).toBe(TEXT);
    expect(plain.open(readable, 'another-key', CONTEXT)).toBeUndefined();
    expect(plain.open(readable, SALT, 'ref.8')).toBeUndefined();
    expect(plain.open(`${readable}.`, SALT, CONTEXT)).toBeUndefined();
    expect(plain.open(readable.split('.').slice(0, 2).join('.'), SALT, CONTEXT)).toBeUndefined();
  });

  test('one way of storing does not read the other’s', () => {
    expect(plain.open(sealed, SALT, CONTEXT)).toBeUndefined();
    expect(open(readable)).toBeUndefined();
  });

  test('any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(plain.open(text, SALT, CONTEXT)).toBeUndefined();
        expect(plain.open(`0.${text}`, SALT, CONTEXT)).toBeUndefined();
      }),
    );
  });
});
