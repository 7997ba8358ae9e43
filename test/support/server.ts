import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Readable } from 'node:stream';

/** Whether a server of the tests can be started; a CI without it is a failure, not a reason to skip. */
export function isInstalled(program: string, debianPackage: string, path = process.env.PATH): boolean {
  const isThere = spawnSync(program, ['--version'], { env: { PATH: path } }).status === 0;
  if (!isThere && process.env.CI === 'true')
    throw new Error(`${program} is missing: install ${debianPackage}`);
  return isThere;
}

/** A port that nobody listens on just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

/** Resolves when a server has written this; what it writes later is dropped. */
export async function whenWritten(output: Readable, text: string): Promise<void> {
  let written = '';
  for await (const chunk of output.iterator({ destroyOnReturn: false })) {
    written += chunk;
    if (written.includes(text)) {
      output.resume();
      return;
    }
  }
  throw new Error(`a server ended before it wrote "${text}":\n${written}`);
}
