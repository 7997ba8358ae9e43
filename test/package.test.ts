import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';

const run = promisify(execFile);
const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
// NODE_OPTIONS belongs to the test run; an app that installs the package does not have it.
const { NODE_OPTIONS: _, ...env } = process.env;

let directory: string;
let project: string;
let packed: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'express-oidc-tokens-'));
  const tarball = await pack(join(directory, 'package'));
  const { stdout } = await run('tar', ['-tzf', tarball]);
  packed = stdout.trim().split('\n');
  project = await install(tarball, join(directory, 'project'));
}, 120_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

test('the tarball holds the build, the docs and nothing else', () => {
  const expected =
    /^package\/(package\.json|README\.md|LICENSE|CHANGELOG\.md|docs\/.+\.md|dist\/.+\.(js|js\.map|d\.ts))$/;
  expect(packed.filter((path) => !expected.test(path))).toEqual([]);
  for (const path of ['README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'dist/index.d.ts']) {
    expect(packed).toContain(`package/${path}`);
  }
});

test('an ES module imports the installed package', async () => {
  await writeFile(
    join(project, 'app.mjs'),
    "import { auth } from 'express-oidc-tokens'; console.log(typeof auth);",
  );
  expect(await node('app.mjs')).toEqual({ stdout: 'function\n', stderr: '' });
});

test('a CommonJS module requires the installed package, without a warning', async () => {
  await writeFile(
    join(project, 'app.cjs'),
    "const { auth } = require('express-oidc-tokens'); console.log(typeof auth);",
  );
  expect(await node('app.cjs')).toEqual({ stdout: 'function\n', stderr: '' });
});

test('a TypeScript app compiles against the installed types, library checks included', async () => {
  await writeFile(
    join(project, 'app.mts'),
    "import express from 'express';\nimport { auth } from 'express-oidc-tokens';\nexpress().use(auth());\n",
  );
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--lib', 'es2023', '--types', 'node'];
  expect(await node(tsc, ...options, 'app.mts')).toEqual({ stdout: '', stderr: '' });
});

function node(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  // tsc reports on stdout and an app on stderr: a failure should show both.
  return run(process.execPath, args, { cwd: project, env }).catch((error) => error);
}

/** Packs a copy of the sources, so that nothing else that uses `dist` at the same time is disturbed. */
async function pack(copy: string): Promise<string> {
  const sources = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'src', 'docs', 'test'];
  const texts = ['README.md', 'LICENSE', 'CHANGELOG.md', 'CONTRIBUTING.md'];
  for (const name of [...sources, ...texts])
    await cp(join(root, name), join(copy, name), { recursive: true });
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
  await run('npm', ['pack', '--pack-destination', directory], { cwd: copy, env });
  const [tarball] = (await readdir(directory)).filter((name) => name.endsWith('.tgz'));
  return join(directory, tarball ?? 'no tarball');
}

/** Installs the tarball with its declared dependencies and peers only: what it forgot to declare is not found. */
async function install(tarball: string, target: string): Promise<string> {
  const modules = join(target, 'node_modules');
  const installed = join(modules, 'express-oidc-tokens');
  await mkdir(installed, { recursive: true });
  await run('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed]);
  const manifest = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
  const names = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
  for (const name of [...names, '@types/node']) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(root, 'node_modules', name), join(modules, name));
  }
  return target;
}
