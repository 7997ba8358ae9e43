import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type FaultProxy, type ProxyFault, startFaultProxy } from './fault-proxy.ts';

const BODY = 'x'.repeat(1000);

let server: Server;
let proxy: FaultProxy;
let served: string[];

beforeEach(async () => {
  served = [];
  server = createServer((req, res) => {
    served.push(req.url ?? '');
    res.end(BODY);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  proxy = await startFaultProxy((server.address() as AddressInfo).port);
});
afterEach(async () => {
  await proxy.close();
  server.close();
});

/** What a request ends with: its body, or how it broke. */
async function outcome(path = '/'): Promise<string> {
  try {
    const answer = await fetch(`http://127.0.0.1:${proxy.port}${path}`);
    return await answer.text().catch(() => `${answer.status}, no body`);
  } catch (error) {
    const { code, message } = (error as { cause?: { code?: string; message: string } }).cause ?? {};
    return code ?? message ?? String(error);
  }
}

test('without a fault everything passes', async () => {
  expect([await outcome('/1'), await outcome('/2')]).toEqual([BODY, BODY]);
  expect(served).toEqual(['/1', '/2']);
});

test.each<[ProxyFault, string | RegExp, number]>([
  [{ kind: 'refuse' }, 'ECONNREFUSED', 0],
  [{ kind: 'reset-after-request' }, 'ECONNRESET', 1],
  [{ kind: 'reset-after-headers' }, '200, no body', 1],
  [{ kind: 'truncate' }, '200, no body', 1],
  [{ kind: 'latency', ms: 30 }, BODY, 1],
])('%p on a fresh and on a kept connection, and back', async (fault, ends, reached) => {
  await proxy.set(fault);
  expect(await outcome('/fresh')).toBe(ends);
  expect(served).toHaveLength(reached);
  await proxy.set(undefined);
  expect(await outcome()).toBe(BODY);
  served.length = 0;
  await proxy.set(fault);
  // A connection that was kept is found cut instead of refused.
  expect([ends, 'ECONNRESET', 'UND_ERR_SOCKET']).toContain(await outcome('/kept'));
  expect(served).toHaveLength(reached);
  await proxy.set(undefined);
  expect(await outcome()).toBe(BODY);
});

test('a black hole holds back until it is lifted', async () => {
  await proxy.set({ kind: 'blackhole' });
  const arrived = proxy.whenRequest('GET /held');
  const pending = outcome('/held');
  await arrived;
  expect(await Promise.race([pending, new Promise((resolve) => setTimeout(resolve, 50, 'held'))])).toBe(
    'held',
  );
  expect(served).toEqual([]);
  await proxy.set(undefined);
  expect(await pending).toBe(BODY);
});

test('a fault for some requests, and so many of them', async () => {
  await proxy.set({ kind: 'reset-after-request', matching: '/bad', times: 1 });
  expect(await outcome('/good')).toBe(BODY);
  expect(await outcome('/bad')).toBe('ECONNRESET');
  expect(await outcome('/bad')).toBe(BODY);
  expect(served).toEqual(['/good', '/bad', '/bad']);
});
