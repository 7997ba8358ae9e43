import { existsSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { expect, test } from '@jest/globals';
import { parseSync } from '@swc/core';
import * as api from 'express-oidc-tokens';
import { root } from '../support/packed-package.ts';
import { anchorsOf, codeBlocks, filesOf, readText, withoutCodeBlocks } from './markdown.ts';

const pages = filesOf('.', '.md');
const docs = pages.filter(({ name }) => name === 'README.md' || name.startsWith('docs/'));
const source = filesOf('src', '.ts')
  .map(({ text }) => text)
  .join('\n');

test('the pages are found', () => {
  const names = pages.map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining(['README.md', 'CONTRIBUTING.md', 'docs/errors.md', 'docs/providers/README.md']),
  );
});

test.each(pages)('$name: every relative link leads to a file, and to a heading in it', ({ name, text }) => {
  expect(targetsOf(text).filter((target) => !isThere(name, target))).toEqual([]);
});

test('every promise that names an acceptance case links to a file that holds its tests', () => {
  const links = [...readText('README.md').matchAll(/\[((?:[A-C]\d+(?:, )?)+)\]\((test\/[^)]+)\)/g)];
  const cases = links.flatMap(([, names = '', file = '']) => names.split(', ').map((name) => [name, file]));
  expect(cases.length).toBeGreaterThan(5);
  expect(cases.filter(([name, file]) => !readText(file ?? '').includes(`'${name}: `))).toEqual([]);
});

test.each(docs)('$name: every environment variable exists', ({ text }) => {
  // What the pages' own code reads belongs to the app.
  const ofTheApp = new Set([...text.matchAll(/process\.env\.(\w+)/g)].map((match) => match[1]));
  const named = text.match(/\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b/g) ?? [];
  const unknown = named.filter((word) => !ofTheApp.has(word) && !new RegExp(`\\b${word}\\b`).test(source));
  expect(unknown).toEqual([]);
});

test.each(docs)('$name: every import from the package exists', ({ text }) => {
  const imports = text.matchAll(/import \{([^}]+)\} from 'express-oidc-tokens'/g);
  const names = [...imports].flatMap(([, list = '']) => list.split(',').map((name) => name.trim()));
  expect(names.filter((name) => !(name in api))).toEqual([]);
});

test.each(docs)('$name: its code can be parsed', ({ text }) => {
  for (const code of codeBlocks(text, 'js'))
    expect(() => parseSync(code, { syntax: 'ecmascript' })).not.toThrow();
});

test('ARCHITECTURE.md names functions and classes that exist', () => {
  const text = readText('docs/ARCHITECTURE.md');
  const named = [...text.matchAll(/`(\w+)\(\)`|`([A-Z][a-z]\w+)`/g)].map(
    (match) => match[1] ?? match[2] ?? '',
  );
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((word) => !new RegExp(`\\b${word}\\b`).test(source))).toEqual([]);
});

test('the check of links finds what is wrong', () => {
  const text =
    '[a](README.md) [b](nowhere.md) [c](README.md#nowhere) [d](https://example.com/x)\n\n[e]: docs/nowhere.md\n';
  const wrong = targetsOf(text).filter((target) => !isThere('CHANGELOG.md', target));
  expect(wrong).toEqual(['nowhere.md', 'README.md#nowhere', 'docs/nowhere.md']);
});

/** Where a page's links lead, but for other sites. */
function targetsOf(markdown: string): string[] {
  const text = withoutCodeBlocks(markdown).replace(/`[^`\n]*`/g, '');
  const inline = [...text.matchAll(/\]\(([^)\s]+)\)/g)];
  const referenced = [...text.matchAll(/^\[[^\]]+\]: (\S+)/gm)];
  return [...inline, ...referenced]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^[a-z]+:/.test(target));
}

function isThere(page: string, target: string): boolean {
  const [path = '', anchor] = target.split('#');
  const file = path === '' ? page : posix.join(dirname(page), path);
  if (!existsSync(join(root, file))) return false;
  return anchor === undefined || anchorsOf(readText(file)).includes(anchor);
}
