import { describe, expect, test } from '@jest/globals';
import { homePath, publicPath, safeReturnTo } from '../../src/core/return-to.ts';
import { fc, runs } from '../support/properties.ts';

const root = new URL('https://app.example');
const below = new URL('https://app.example:8443/app/');
const bases = [root, below, new URL('https://app.example/app'), new URL('http://localhost:3000')];

describe('the way back that an app wants', () => {
  test.each<[string, string]>([
    ['/', '/'],
    ['/orders', '/orders'],
    ['/orders?page=2&q=a%20b#row-5', '/orders?page=2&q=a%20b#row-5'],
    ['/orders?next=https://evil.example//x', '/orders?next=https://evil.example//x'],
    ['/a//b', '/a//b'],
    ['/caf%C3%A9', '/caf%C3%A9'],
    ['/100%25', '/100%25'],
    ['/My%20files/50%2520', '/My%20files/50%2520'],
    ['/a%2Fb', '/a%2Fb'],
    ['/a/../b', '/b'],
    ['https://app.example/orders?page=2', '/orders?page=2'],
    ['https://app.example', '/'],
  ])('%s', (candidate, expected) => {
    expect(safeReturnTo(candidate, root)).toBe(expected);
  });

  test('below the path of the base URL', () => {
    expect(safeReturnTo('/app/orders', below)).toBe('/app/orders');
    expect(safeReturnTo('/app', below)).toBe('/app');
    expect(safeReturnTo('/orders?x=1', below)).toBe('/app/orders?x=1');
    expect(safeReturnTo('/apple', below)).toBe('/app/apple');
    expect(safeReturnTo('/app/../orders', below)).toBe('/app/orders');
    expect(safeReturnTo('https://app.example:8443/app/orders', below)).toBe('/app/orders');
  });
});

describe('the way back that an attacker wants', () => {
  const attacks = [
    '//evil.example',
    '///evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/\\/evil.example',
    '/%2fevil.example',
    '/%2F/evil.example',
    '/%5cevil.example',
    '%2f%2fevil.example',
    '/%252fevil.example',
    '/%255cevil.example',
    '/.//evil.example',
    '/x/..//evil.example',
    '/%2e%2e//evil.example',
    '/./%2fevil.example',
    '/\t/evil.example',
    '\t//evil.example',
    ' //evil.example',
    '/\n/evil.example',
    '/%09/evil.example',
    '/\r\nlocation: https://evil.example',
    '/%0d%0alocation:%20https://evil.example',
    '/%250d%250aset-cookie:%20a=b',
    '/a\u0000b',
    'https://evil.example',
    'https:evil.example',
    'https:/evil.example',
    'HTTPS://evil.example/',
    'http://app.example/',
    'https://app.example@evil.example/',
    'https://app.example:x@evil.example/',
    'https://user@app.example/',
    'https://app.example.evil.example/',
    'https://app.example:444/',
    'https://app.examplé/',
    'javascript:alert(1)',
    'data:text/html,x',
    'blob:https://app.example/x',
    'orders',
    '?x',
    '#x',
    '.',
    '/%',
    '/%zz',
    '/%c0%af',
    '/a\tb',
    '',
  ];
  test.each(attacks)('%j', (candidate) => {
    expect(safeReturnTo(candidate, root)).toBe('/');
    expect(safeReturnTo(candidate, below)).toBe('/app/');
    expect(safeReturnTo(candidate, root, '/fallback')).toBe('/fallback');
  });

  test.each([
    undefined,
    null,
    5,
    ['/orders'],
    { toString: () => '/orders' },
    new URL('https://app.example/x'),
  ])('no text: %p', (candidate) => {
    expect(safeReturnTo(candidate, root)).toBe('/');
  });
});

describe('whatever is asked for', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '/',
      '//',
      '\\',
      '/\\',
      '%2f',
      '%5c',
      '%252f',
      '%25',
      '%2e',
      '..',
      '.',
      '%',
      '?',
      '#',
      '@',
      ':',
    ),
    fc.constantFrom(
      '\t',
      '\n',
      '\r',
      '%0d%0a',
      '%09',
      '%00',
      '\0',
      ' ',
      '\u3002',
      '\uff0f',
      '\u2028',
      '\ud800',
    ),
    fc.constantFrom(
      'https:',
      'http:',
      'javascript:',
      'data:',
      'evil.example',
      'app.example',
      'app',
      '8443',
      'x',
    ),
    fc.constantFrom(
      'https://app.example',
      'https://app.example:8443',
      'http://localhost:3000',
      '/app',
      '/app/',
    ),
    fc.string({ unit: 'binary', maxLength: 3 }),
  );
  const crafted = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
  const wrapped = fc.tuple(crafted, fc.nat(2)).map(([text, rounds]) => {
    let encoded = text.replace(/[\ud800-\udfff]/g, '');
    for (let round = 0; round < rounds; round += 1) encoded = encodeURIComponent(encoded);
    return encoded;
  });
  const candidates = fc.oneof(
    crafted,
    crafted.map((text) => `/${text}`),
    wrapped,
    wrapped.map((text) => `/${text}`),
    fc.string({ unit: 'binary' }),
    fc.webUrl({ withFragments: true, withQueryParameters: true }),
    fc.anything(),
  );

  /** What proxies and frameworks may make of a path: decode it once, or twice. */
  function decodings(path: string): string[] {
    const all = [path];
    try {
      all.push(decodeURIComponent(path));
      all.push(decodeURIComponent(all[1]!));
    } catch {
      // Who cannot decode it refuses it.
    }
    return all;
  }

  test('the result is a path of the app, in every browser’s eyes, and stays the same when checked again', () => {
    fc.assert(
      fc.property(candidates, fc.constantFrom(...bases), (candidate, base) => {
        const result = safeReturnTo(candidate, base);
        const { origin, pathname } = new URL(result, base);
        expect(origin).toBe(base.origin);
        expect(`${pathname}/`.startsWith(homePath(base))).toBe(true);
        // Printable ASCII: nothing that could end a header or be read in two ways.
        expect(result).toMatch(/^\/[\x21-\x7e]*$/);
        for (const path of decodings(result.split(/[?#]/, 1)[0]!)) {
          expect(path).not.toMatch(/^[/\\]{2}/);
          // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this looks for
          expect(path).not.toMatch(/[\u0000-\u001f\u007f\\]/);
        }
        expect(safeReturnTo(result, base)).toBe(result);
      }),
      { numRuns: runs(2000) },
    );
  });

  test('an ordinary path is never refused', () => {
    const segment = fc.stringMatching(/^[\w~-][\w.~-]{0,8}$/);
    const query = fc.webQueryParameters();
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), query, (segments, search) => {
        const path = `/${segments.join('/')}?${search}`;
        const { pathname, search: normalized } = new URL(path, root);
        expect(safeReturnTo(path, root)).toBe(pathname + normalized);
      }),
    );
  });
});

test('public paths', () => {
  expect(publicPath('/login', root)).toBe('/login');
  expect(publicPath('/login', below)).toBe('/app/login');
  expect(publicPath('/app/login', below)).toBe('/app/login');
  expect(publicPath('/app?x=1', below)).toBe('/app?x=1');
  expect(publicPath('/application', below)).toBe('/app/application');
  expect(bases.map(homePath)).toEqual(['/', '/app/', '/app/', '/']);
});
