import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect } from 'node:net';
import { SettingsError } from './settings.ts';

/** Which port, what for, and the environment variable that chooses another one. */
export interface Place {
  port: number;
  what: string;
  variable: string;
}

/** On localhost only: the local provider lets anyone in, so nobody else on the network may reach it. */
export async function listen(handler: RequestListener, { port, what, variable }: Place): Promise<Server> {
  const server = createServer(handler);
  try {
    if (await somethingAnswersOn(port)) throw Object.assign(new Error('taken'), { code: 'EADDRINUSE' });
    server.listen(port, 'localhost');
    await once(server, 'listening');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EADDRINUSE' && code !== 'EACCES') throw error;
    throw new SettingsError(
      `Port ${port}, for ${what}, is ${code === 'EACCES' ? 'not allowed here' : 'in use'}. ` +
        `Choose another one (${variable}=${port < 1024 ? port + 3000 : port + 100}) or free this one.`,
    );
  }
  return server;
}

/** "localhost" is two addresses. A program that has only the other one would not be in the way, and get our visitors. */
async function somethingAnswersOn(port: number): Promise<boolean> {
  const socket = connect({ port, host: 'localhost' });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Lets the requests under way finish, for a second. */
export async function stopListening(server: Server): Promise<void> {
  server.close();
  setTimeout(() => server.closeAllConnections(), 1000).unref();
  await once(server, 'close');
}

export type Stop = () => Promise<void>;

/** In the reverse order of their start; one that fails does not keep the others running. */
export async function stopAll(started: Stop[]): Promise<void> {
  for (const stop of started.splice(0).reverse())
    await stop().catch((error: unknown) => console.error(error));
}
