import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { parseSync } from '@swc/core';

type Import = { from: string; typeOnly: boolean };
type Node = { type: string; [key: string]: unknown };
type Rule = { folders: string[]; modules: string[]; types?: string[] };

// What each folder may import. docs/ARCHITECTURE.md says why.
const rules: Record<string, Rule> = {
  core: { folders: [], modules: [] },
  protocol: { folders: ['core'], modules: ['openid-client', 'jose', 'node:async_hooks'] },
  tokens: { folders: ['core', 'protocol'], modules: ['node:crypto'] },
  storage: { folders: ['core'], modules: ['lru-cache', 'node:crypto'], types: ['express-session'] },
  express: {
    folders: ['core', 'protocol', 'tokens', 'storage'],
    modules: ['express', 'express-session', 'node:*'],
  },
};
const maxLines = 300;
const impureMember = /^((crypto|process|console|performance|globalThis)\.|(Date\.now|Math\.random)$)/;
const impureCall = /^(fetch|setTimeout|setInterval|setImmediate|queueMicrotask)$/;

const src = resolve(dirname(fileURLToPath(import.meta.url)), '../src');
const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name: name.split(sep).join('/'), source: readFileSync(join(src, name), 'utf8') }));

describe('src', () => {
  test('has files in every folder of the table and in no other', () => {
    const folders = new Set(files.map(({ name }) => posix.dirname(name).split('/')[0]));
    expect([...folders].sort()).toEqual(['.', ...Object.keys(rules)].sort());
    expect(files.filter(({ name }) => !name.includes('/')).map(({ name }) => name)).toEqual(['index.ts']);
  });

  test.each(files)('$name imports only what its folder may', ({ name, source }) => {
    expect(forbiddenImports(name, source)).toEqual([]);
  });

  test.each(files.filter(({ name }) => name.startsWith('core/')))('$name is pure', ({ source }) => {
    expect(impurities(source)).toEqual([]);
  });

  test(`no file is longer than ${maxLines} lines`, () => {
    const long = files.filter(({ source }) => source.trimEnd().split('\n').length > maxLines);
    expect(long.map(({ name }) => name)).toEqual([]);
  });
});

describe('the checks themselves', () => {
  test.each([
    ['core/a.ts', "import { createHash } from 'node:crypto';"],
    ['core/a.ts', "import type { Request } from 'express';"],
    ['core/a.ts', "import { grant } from '../protocol/grants.ts';"],
    ['core/a.ts', "export const load = () => import('jose');"],
    ['core/a.ts', "export type Key = import('jose').JWK;"],
    ['protocol/a.ts', "import { auth } from '../express/auth.ts';"],
    ['protocol/a.ts', "import { readFileSync } from 'node:fs';"],
    ['tokens/a.ts', "export * from '../storage/redis-token-store.ts';"],
    ['tokens/a.ts', "import 'openid-client';"],
    ['storage/a.ts', "import session from 'express-session';"],
    ['storage/a.ts', "import { type Store, MemoryStore } from 'express-session';"],
    ['storage/a.ts', "export { MemoryStore } from 'express-session';"],
    ['express/routes/a.ts', "import { jwtVerify } from 'jose';"],
    ['express/routes/a.ts', "import pkg from '../../../package.json';"],
    ['index.ts', "import { auth } from './express/auth.ts';"],
    ['index.ts', "export { calculateJwkThumbprint } from 'jose';"],
    ['index.ts', 'export const version = 1;'],
  ])('%s must not hold: %s', (name, source) => {
    expect(forbiddenImports(name, source)).toHaveLength(1);
  });

  test.each([
    ['core/a.ts', "import { scopes } from './scopes.ts';"],
    ['protocol/a.ts', "import * as client from 'openid-client'; // import fs from 'node:fs'"],
    ['tokens/a.ts', "import type { TokenStore } from '../core/ports.ts';"],
    ['storage/a.ts', "import type { Store } from 'express-session';"],
    ['storage/a.ts', "declare module 'express-session' { interface SessionData { oidc?: string } }"],
    ['express/routes/a.ts', "import { commit } from '../../tokens/refresh-flight.ts';"],
    ['express/routes/a.ts', "import { isIP } from 'node:net';"],
    ['index.ts', "export type { Account } from './core/ports.ts'; import './express/augmentation.ts';"],
  ])('%s may hold: %s', (name, source) => {
    expect(forbiddenImports(name, source)).toEqual([]);
  });

  test.each([
    'Date.now()',
    'new Date()',
    'Math.random()',
    'crypto.randomUUID()',
    'globalThis.fetch("/")',
    'fetch("/")',
    'setTimeout(() => {}, 1)',
    'process.env.HOME',
    'console.log(1)',
  ])('core must not hold: %s', (expression) => {
    expect(impurities(`export const value = () => ${expression};`)).toHaveLength(1);
  });

  test.each(['new Date(now)', 'Math.min(1, 2)', 'clock.now()', 'ports.fetch("/")'])(
    'core may hold: %s',
    (expression) => {
      expect(impurities(`export const value = (now, clock, ports) => ${expression};`)).toEqual([]);
    },
  );
});

function forbiddenImports(name: string, source: string): string[] {
  const folder = name.includes('/') ? name.slice(0, name.indexOf('/')) : undefined;
  if (!folder) return forbiddenInIndex(source);
  const rule = rules[folder];
  if (!rule) return [`${folder}: no such folder`];
  return importsOf(source)
    .filter((found) => !isAllowed(found, name, folder, rule))
    .map(({ from, typeOnly }) => (typeOnly ? `type of ${from}` : from));
}

function isAllowed({ from, typeOnly }: Import, name: string, folder: string, rule: Rule): boolean {
  if (from.startsWith('.')) {
    const target = relative(src, resolve(src, dirname(name), from)).split(sep)[0] ?? '';
    return target === folder || rule.folders.includes(target);
  }
  const named = (module: string) =>
    module.endsWith('*') ? from.startsWith(module.slice(0, -1)) : from === module;
  return rule.modules.some(named) || (typeOnly && (rule.types ?? []).some(named));
}

/** The public API re-exports the project's own modules and holds nothing else. */
function forbiddenInIndex(source: string): string[] {
  return nodes(parse(source).body)
    .filter((statement) => {
      const isImport = statement.type === 'ImportDeclaration';
      const from = importOf(statement)?.from ?? '';
      return !from.startsWith('./') || (isImport && nodes(statement.specifiers).length > 0);
    })
    .map(({ type }) => type);
}

function importsOf(source: string): Import[] {
  return nodesIn(source).flatMap((node) => importOf(node) ?? []);
}

function importOf(node: Node): Import | undefined {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration':
    case 'ExportAllDeclaration':
      return isNode(node.source) ? { from: text(node.source), typeOnly: isTypeOnly(node) } : undefined;
    case 'TsImportType':
      return { from: text(node.argument), typeOnly: true };
    case 'CallExpression': {
      if (!isNode(node.callee) || node.callee.type !== 'Import') return undefined;
      return { from: text(nodes(node.arguments)[0]?.expression) || '(computed)', typeOnly: false };
    }
    default:
      return undefined;
  }
}

function isTypeOnly(declaration: Node): boolean {
  if (declaration.typeOnly) return true;
  const specifiers = nodes(declaration.specifiers);
  return specifiers.length > 0 && specifiers.every(({ isTypeOnly }) => isTypeOnly);
}

/** The clock, the randomness and the I/O that a file can reach without an import. */
function impurities(source: string): string[] {
  return nodesIn(source).flatMap((node) => {
    const callee = name(node.callee);
    const member = `${name(node.object)}.${name(node.property)}`;
    if (node.type === 'MemberExpression' && impureMember.test(member)) return member;
    if (node.type === 'CallExpression' && impureCall.test(callee)) return callee;
    return node.type === 'NewExpression' && callee === 'Date' && nodes(node.arguments).length === 0
      ? callee
      : [];
  });
}

function parse(source: string): Node {
  return parseSync(source, { syntax: 'typescript' }) as unknown as Node;
}

function nodesIn(source: string): Node[] {
  const withDescendants = (node: Node): Node[] => [node, ...children(node).flatMap(withDescendants)];
  return withDescendants(parse(source));
}

function children(node: object): Node[] {
  return Object.values(node).flatMap((value) => (Array.isArray(value) ? nodes(value) : nodes([value])));
}

function nodes(values: unknown): Node[] {
  return Array.isArray(values) ? values.filter(isNode) : [];
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null;
}

function text(node: unknown): string {
  return isNode(node) && typeof node.value === 'string' ? node.value : '';
}

function name(node: unknown): string {
  return isNode(node) && node.type === 'Identifier' ? text(node) : '';
}
