import { describe, expect, test } from '@jest/globals';
import { formatChallenge, parseWwwAuthenticate } from '../../src/core/www-authenticate.ts';
import { fc, runs } from '../support/properties.ts';

const bearer = (parameters: Record<string, string>) => ({ scheme: 'Bearer', parameters });

describe('parseWwwAuthenticate', () => {
  test.each<[string, string | null | undefined, object[]]>([
    ['no header', null, []],
    ['undefined', undefined, []],
    ['an empty header', '', []],
    ['nothing but separators', ' , ,\t, ', []],
    ['a scheme alone', 'Bearer', [bearer({})]],
    ['a scheme with a space after it', 'Bearer ', [bearer({})]],
    ['a quoted value', 'Bearer realm="x"', [bearer({ realm: 'x' })]],
    ['a bare value', 'Bearer error=invalid_token', [bearer({ error: 'invalid_token' })]],
    ['an empty quoted value', 'Bearer realm=""', [bearer({ realm: '' })]],
    ['a comma inside quotes', 'Bearer realm="a, b=c", error="e"', [bearer({ realm: 'a, b=c', error: 'e' })]],
    ['a scheme inside quotes', 'Bearer realm="x, Basic y=z"', [bearer({ realm: 'x, Basic y=z' })]],
    ['escaped quotes and backslashes', String.raw`Bearer realm="a\"b\\c"`, [bearer({ realm: 'a"b\\c' })]],
    ['an escaped letter', String.raw`Bearer realm="\a"`, [bearer({ realm: 'a' })]],
    ['white space around =', 'Bearer error \t= "e"', [bearer({ error: 'e' })]],
    ['no white space after commas', 'Bearer a="1",b=2', [bearer({ a: '1', b: '2' })]],
    ['empty list elements', 'Bearer , a="1" ,, , b="2",', [bearer({ a: '1', b: '2' })]],
    ['names in any case', 'bEARER Error="X"', [{ scheme: 'bEARER', parameters: { error: 'X' } }]],
    ['a name twice: the first counts', 'Bearer a="1", A="2"', [bearer({ a: '1' })]],
    [
      'two challenges',
      'Basic realm="x", Bearer error="e", scope="a b"',
      [{ scheme: 'Basic', parameters: { realm: 'x' } }, bearer({ error: 'e', scope: 'a b' })],
    ],
    ['the same scheme twice', 'Bearer a=1, Bearer b=2', [bearer({ a: '1' }), bearer({ b: '2' })]],
    [
      'two schemes without parameters',
      'Negotiate, Bearer',
      [{ scheme: 'Negotiate', parameters: {} }, bearer({})],
    ],
    [
      'token68 before a challenge',
      'Negotiate YII/+a.b-_~==, Bearer error="e"',
      [{ scheme: 'Negotiate', parameters: {} }, bearer({ error: 'e' })],
    ],
    [
      'token68 with one = before a challenge',
      'NTLM abc=, Bearer error="e"',
      [{ scheme: 'NTLM', parameters: {} }, bearer({ error: 'e' })],
    ],
    [
      'token68 without =',
      'Negotiate abc, Bearer error="e"',
      [{ scheme: 'Negotiate', parameters: {} }, bearer({ error: 'e' })],
    ],
    ['an unfinished quote ends the reading', 'Bearer a="1", b="2', [bearer({ a: '1' })]],
    ['what no token holds ends the reading', 'Bearer a="1", @, b="2"', [bearer({ a: '1' })]],
    ['a parameter without a scheme', 'error="e"', []],
  ])('%s', (_name, header, expected) => {
    expect(parseWwwAuthenticate(header)).toEqual(expected);
  });

  test('never throws, and every scheme and name is a token', () => {
    const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
    const piece = fc.constantFrom('Bearer', ' ', ',', '=', '"', '\\', 'a', 'a="b"', '\t', '==', 'é', '\n');
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join('')),
    );
    fc.assert(
      fc.property(text, (header) => {
        for (const { scheme, parameters } of parseWwwAuthenticate(header)) {
          expect(scheme).toMatch(token);
          for (const name of Object.keys(parameters)) expect(name).toMatch(token);
        }
      }),
      { numRuns: runs(500) },
    );
  });

  test.each(['a ', 'a="', 'a=",', '\\"', ' ', ',', 'a,', 'a b="\\'])(
    'a megabyte of %j is read at once',
    (unit) => {
      const header = `Bearer ${unit.repeat(Math.ceil(1_048_576 / unit.length))}`;
      expect(parseWwwAuthenticate(header)[0]).toMatchObject({ scheme: 'Bearer' });
    },
  );

  test('a parameter called __proto__ changes no prototype', () => {
    const [challenge] = parseWwwAuthenticate('Bearer __proto__="x", constructor="y", error="e"');
    expect(challenge?.parameters).toMatchObject({ constructor: 'y', error: 'e' });
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });
});

describe('formatChallenge', () => {
  test.each<[string, Record<string, string | undefined>, string]>([
    ['no parameters', {}, 'Bearer'],
    ['only undefined ones', { error: undefined }, 'Bearer'],
    ['several', { error: 'e', scope: 'a b', x: undefined }, 'Bearer error="e", scope="a b"'],
    ['quotes and backslashes', { error: 'a"b\\c' }, String.raw`Bearer error="a\"b\\c"`],
    [
      'what a header must not hold',
      { error: 'a\r\nSet-Cookie: b\u0000é' },
      'Bearer error="a  Set-Cookie: b  "',
    ],
  ])('%s', (_name, parameters, expected) => {
    expect(formatChallenge('Bearer', parameters)).toBe(expected);
  });

  const word = fc.stringMatching(/^[a-z][a-z0-9_.-]{0,11}$/).filter((name) => name !== '__proto__');
  const value = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  });
  const challenge = fc.record({
    scheme: word,
    parameters: fc.dictionary(word, value, { maxKeys: 6, noNullPrototype: true }),
  });

  test('what it builds is read as it was', () => {
    fc.assert(
      fc.property(challenge, ({ scheme, parameters }) => {
        expect(parseWwwAuthenticate(formatChallenge(scheme, parameters))).toEqual([{ scheme, parameters }]);
      }),
    );
  });

  test('several in one header are read as they were', () => {
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 5 }), (challenges) => {
        const header = challenges
          .map(({ scheme, parameters }) => formatChallenge(scheme, parameters))
          .join(', ');
        expect(parseWwwAuthenticate(header)).toEqual(challenges);
      }),
    );
  });
});
