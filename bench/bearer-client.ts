/** Sends requests to an API, ten at a time; a process of its own, so that the API's CPU time is the API's alone. */
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';

const [, , url = ''] = process.argv;
const agent = new Agent({ keepAlive: true, maxSockets: 10 });

async function call(path: string, token: string): Promise<boolean> {
  const req = get(`${url}/${path}`, { agent, headers: { authorization: `Bearer ${token}` } });
  const [res] = (await once(req, 'response')) as [IncomingMessage];
  res.resume();
  await once(res, 'end');
  return res.statusCode === 200;
}

process.on('message', async ({ name, tokens, calls }: { name: string; tokens: string[]; calls: number }) => {
  let [next, failed] = [0, 0];
  const worker = async () => {
    while (next < calls) {
      const token = tokens[next % tokens.length] as string;
      next += 1;
      if (!(await call(name, token))) failed += 1;
    }
  };
  await Promise.all(Array.from({ length: 10 }, worker));
  process.send?.(failed);
});
process.send?.('ready');
