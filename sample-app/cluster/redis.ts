import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { SettingsError } from '../settings.ts';

export interface LocalRedis {
  /** The Unix socket that it listens on; there is no port. */
  socket: string;
  stop(): Promise<void>;
}

/** A Redis of our own that keeps nothing on disk, in a folder that only this user can enter. */
export async function startRedis(): Promise<LocalRedis> {
  const folder = await mkdtemp(join(tmpdir(), 'sample-redis-'));
  const socket = join(folder, 'socket');
  const listening = ['--port', '0', '--unixsocket', socket, '--dir', folder];
  const keepingNothing = ['--save', '', '--appendonly', 'no', '--maxmemory-policy', 'noeviction'];
  const redis = spawn('redis-server', [...listening, ...keepingNothing], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true, // Ctrl-C goes to a whole group of processes, and Redis is the last to stop
  });
  const exited = once(redis, 'exit').catch(() => undefined);
  const late = setTimeout(() => redis.kill(), READY_WITHIN_MS);
  const stop = async (): Promise<void> => {
    redis.kill();
    await exited;
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await once(redis, 'spawn');
    await isReady(redis.stdout);
    return { socket, stop };
  } catch (error) {
    await stop();
    throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? new SettingsError(NOT_INSTALLED) : error;
  } finally {
    clearTimeout(late);
  }
}

const READY_WITHIN_MS = 10_000;
const NOT_INSTALLED =
  'redis-server is not installed. Install Redis (Debian and Ubuntu: apt-get install redis-server, ' +
  'macOS: brew install redis) and start again, or run npm start, which needs none.';

async function isReady(output: Readable): Promise<void> {
  let text = '';
  for await (const chunk of output.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (!/ready to accept connections/i.test(text)) continue;
    output.resume();
    return;
  }
  throw new Error(`redis-server did not start:\n${text}`);
}
