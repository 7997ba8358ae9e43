import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const run = promisify(execFile);
export const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

// NODE_OPTIONS belongs to the test run; an app that installs the package does not have it.
const { NODE_OPTIONS: _, ...env } = process.env;

export { env };

/** Packs a copy of the sources, so that nothing else that uses `dist` at the same time is disturbed. */
export async function pack(directory: string): Promise<string> {
  const copy = join(directory, 'package');
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
export async function install(tarball: string, project: string): Promise<void> {
  const modules = join(project, 'node_modules');
  const installed = join(modules, 'express-oidc-tokens');
  await mkdir(installed, { recursive: true });
  await run('tar', ['-xzf', tarball, '--strip-components=1', '-C', installed]);
  const manifest = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
  const names = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies });
  for (const name of [...names, '@types/node']) {
    await mkdir(dirname(join(modules, name)), { recursive: true });
    await symlink(join(root, 'node_modules', name), join(modules, name));
  }
}
