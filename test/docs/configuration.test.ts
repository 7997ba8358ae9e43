import { randomBytes } from 'node:crypto';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from '@jest/globals';
import { parseOptions } from '../../src/express/settings.ts';
import { readText, sections } from './markdown.ts';

const source = readText('src/express/options.ts');
const documented = new Map(
  [...sections(readText('docs/configuration.md'), 3)].map(([title, text]) => [
    title.replaceAll('`', ''),
    text,
  ]),
);
const options = fieldsOf('AuthOptions');
const minimal = { issuer: 'https://login.example', clientId: 'app', baseUrl: 'https://app.example' };
const key = `k1:${randomBytes(32).toString('base64')}`;

test('every option has its section, and every section is an option', () => {
  expect([...documented.keys()].sort()).toEqual([...options.keys()].sort());
});

test.each([...options])('%s: the type is the one in the source', (name, type) => {
  expect(item(name, 'Type')).toBe(`\`${type}\``);
});

test.each([
  ['routes', 'RouteOptions'],
  ['resources', 'ResourceOptions'],
])('%s: every field of %s is named', (name, type) => {
  const text = documented.get(name) ?? '';
  expect([...fieldsOf(type).keys()].filter((field) => !text.includes(field))).toEqual([]);
});

describe('defaults', () => {
  const settings: Record<string, unknown> = { ...parseOptions(minimal, {}) };
  const literals = [...options.keys()].filter((name) =>
    /^`('[^']*'|\d+|true|false)`$/.test(item(name, 'Default')),
  );

  test('most are literals', () => {
    expect(literals.length).toBeGreaterThan(12);
  });

  test.each(literals.filter((name) => name in settings))('%s', (name) => {
    const value: unknown = runInNewContext(item(name, 'Default').replaceAll('`', ''));
    const words = (text: unknown) => [text].flat().join(' ').split(' ').sort();
    expect(words(settings[name])).toEqual(words(value));
  });

  test('routes', () => {
    const value: unknown = runInNewContext(`(${item('routes', 'Default').replaceAll('`', '')})`);
    expect(settings.routes).toEqual(value);
  });
});

describe('environment variables', () => {
  const values: Record<string, string> = {
    issuer: 'https://other.example/',
    clientId: 'other',
    clientSecret: 'secret',
    baseUrl: 'https://other.example/',
    encryptionKeys: key,
  };
  const named = [...documented.keys()].flatMap((name) => {
    const variables = item(name, 'Environment').match(/[A-Z_]+/g) ?? [];
    return variables.map((variable) => [variable, name] as const);
  });

  test.each(named)('%s sets %s', (variable, name) => {
    const { [name as 'issuer']: _, ...others } = minimal;
    const settings: Record<string, unknown> = { ...parseOptions(others, { [variable]: values[name] }) };
    const expected = name === 'encryptionKeys' ? expect.arrayContaining([expect.anything()]) : values[name];
    expect(settings[name] instanceof URL ? String(settings[name]) : settings[name]).toEqual(expected);
  });

  test('none that the source reads is left out', () => {
    const settings = readText('src/express/settings.ts');
    const read = [...settings.matchAll(/\benv\.([A-Z_]+)|'([A-Z]+(?:_[A-Z]+)+)'/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    );
    const text = readText('docs/configuration.md');
    expect(read.length).toBeGreaterThan(8);
    expect(read.filter((variable) => !text.includes(`\`${variable}`))).toEqual([]);
  });
});

/** `- Type: …` of an option's section. */
function item(option: string, label: string): string {
  return new RegExp(`^- ${label}: (.+)$`, 'm').exec(documented.get(option) ?? '')?.[1] ?? '';
}

/** The fields of an interface in options.ts, each with the text of its type, without the `undefined` that all take. */
function fieldsOf(name: string): Map<string, string> {
  const [, body = ''] = new RegExp(`export interface ${name} \\{\\n([\\s\\S]*?)^\\}`, 'm').exec(source) ?? [];
  return new Map(
    [...body.matchAll(/^ {2}(\w+)\??:([\s\S]+?);$/gm)].map(([, field = '', type = '']) => [
      field,
      bare(type),
    ]),
  );
}

function bare(type: string): string {
  const value = type
    .replace(/\s+/g, ' ')
    .replace(/^ \|?\s*/, '')
    .replace(/ \| undefined$/, '');
  return value.replace(/^\((\(.*)\)$/, '$1');
}
