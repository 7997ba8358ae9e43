import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { env, install, pack, root, run } from './support/packed-package.ts';

let directory: string;
let project: string;
let packed: string[];

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'express-oidc-tokens-'));
  const tarball = await pack(directory);
  const { stdout } = await run('tar', ['-tzf', tarball]);
  packed = stdout.trim().split('\n');
  project = join(directory, 'project');
  await install(tarball, project);
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

test('what a strict app exports has types that can be named, and a variable that is not set fits an option', async () => {
  await writeFile(
    join(project, 'strict.mts'),
    `import type { Request, Response } from 'express';
import { auth, InteractionRequiredError, redisTokenStore, requiresAuth, requiresBearer } from 'express-oidc-tokens';
const { env } = process;
export const handle = auth({ clientSecret: env.SECRET, routes: { logout: undefined } });
export const guards = [requiresAuth({ acr: env.ACR }), requiresBearer({ audience: 'a', issuer: env.ISSUER })];
export const store = (client: Parameters<typeof redisTokenStore>[0]['client']) => redisTokenStore({ client, prefix: env.PREFIX });
export const job = () => handle.getAppToken({ audience: env.AUDIENCE });
export const onBehalf = (req: Request) => req.getTokenOnBehalfOf();
export const token = (req: Request) => req.getToken();
export const again = (res: Response, { claims, acrValues, maxAge }: InteractionRequiredError) =>
  res.oidc.login({ claims, acrValues, maxAge });
`,
  );
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const strict = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--declaration'];
  const target = ['--module', 'nodenext', '--lib', 'es2023', '--types', 'node', '--outDir', 'strict'];
  expect(await node(tsc, ...strict, ...target, 'strict.mts')).toEqual({ stdout: '', stderr: '' });
});

function node(...args: string[]): Promise<{ stdout: string; stderr: string }> {
  // tsc reports on stdout and an app on stderr: a failure should show both.
  return run(process.execPath, args, { cwd: project, env }).catch((error) => error);
}
