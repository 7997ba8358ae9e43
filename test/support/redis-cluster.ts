import { setTimeout as delay } from 'node:timers/promises';
import { startRedis, type TestRedis } from './redis.ts';
import { freePort } from './server.ts';

export interface TestRedisCluster {
  nodes: TestRedis[];
  /** A command to every node. */
  toAll(...words: string[]): Promise<unknown>;
  close(): Promise<void>;
}

/** A cluster of two servers, each with half of the slots. */
export async function startRedisCluster(): Promise<TestRedisCluster> {
  const nodes: TestRedis[] = [];
  const close = async () => void (await Promise.all(nodes.map((node) => node.close())));
  try {
    // Else the port of its bus is 10,000 above its own, which may be none.
    const buses = [`${await freePort()}`, `${await freePort()}`] as const;
    for (const bus of buses)
      nodes.push(await startRedis(['--cluster-enabled', 'yes', '--cluster-port', bus]));
    const [first, second] = [await nodes[0]!.client(), await nodes[1]!.client()];
    await first.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', '0', '8191']);
    await second.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', '8192', '16383']);
    await first.sendCommand(['CLUSTER', 'MEET', '127.0.0.1', `${nodes[1]!.port}`, buses[1]]);
    for (const client of [first, second])
      while (!String(await client.sendCommand(['CLUSTER', 'INFO'])).includes('cluster_state:ok'))
        await delay(20);
    const toAll = (...words: string[]) =>
      Promise.all([first, second].map((client) => client.sendCommand(words)));
    return { nodes, toAll, close };
  } catch (error) {
    await close();
    throw error;
  }
}
