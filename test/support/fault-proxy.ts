import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * What goes wrong on the way, while it is set.
 *
 * `refuse`: nobody listens, and open connections are cut. `blackhole`: connections stay open and nothing passes; what
 * was held back passes when the fault ends. `latency`: everything passes late. `reset-after-request`: the request
 * passes, and the connection is reset where the answer would begin. `reset-after-headers`: the head of an HTTP answer
 * passes, then the connection is reset. `truncate`: half of the answer's first packet passes, then the end.
 */
export type ProxyFault = (
  | { kind: 'refuse' | 'blackhole' | 'reset-after-request' | 'reset-after-headers' | 'truncate' }
  | { kind: 'latency'; ms: number }
) & {
  /** Only requests with this text in them, and what follows on their connections. */
  matching?: string;
  /** Only so many of them. */
  times?: number;
};

interface Connection {
  readonly client: Socket;
  readonly server: Socket;
  fault: ProxyFault | undefined;
  held: (() => void)[];
  late: (() => void)[];
}

/** A TCP proxy on a loopback port, for in front of whatever is not to be reached as it should. */
export class FaultProxy {
  readonly #targetPort: number;
  readonly #connections = new Set<Connection>();
  readonly #waiters = new Set<{ text: string; left: number; resolve: () => void }>();
  #server: Server | undefined;
  #port = 0;
  #fault: ProxyFault | undefined;
  #left = 0;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  get port(): number {
    return this.#port;
  }

  /** Sets what goes wrong from here on; `undefined` ends it and lets pass what was held back. */
  async set(fault: ProxyFault | undefined): Promise<void> {
    this.#fault = fault;
    this.#left = fault?.times ?? Number.POSITIVE_INFINITY;
    for (const connection of this.#connections) {
      connection.fault = undefined;
      for (const pass of connection.held.splice(0)) pass();
    }
    if (fault?.kind === 'refuse') await this.#stop();
    else await this.start();
  }

  /** Resolves when so many more requests with this text in them have arrived. */
  whenRequests(count: number, text: string): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.add({ text, left: count, resolve });
    });
  }

  async start(): Promise<void> {
    if (this.#server) return;
    const server = createServer((client) => this.#connected(client));
    this.#server = server;
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
  }

  close(): Promise<void> {
    return this.#stop();
  }

  async #stop(): Promise<void> {
    const server = this.#server;
    if (!server) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const { client } of this.#connections) client.resetAndDestroy();
    await closed;
  }

  #connected(client: Socket): void {
    const server = connect(this.#targetPort, '127.0.0.1');
    const connection: Connection = { client, server, fault: undefined, held: [], late: [] };
    this.#connections.add(connection);
    const end = () => {
      this.#connections.delete(connection);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on('error', () => {}).on('close', end);
    client.on('end', () => server.end());
    server.on('end', () => client.end());
    client.on('data', (chunk) => {
      this.#arm(connection, chunk.toString('latin1'));
      this.#pass(connection, () => server.write(chunk));
    });
    server.on('data', (chunk) => this.#answer(connection, chunk));
  }

  /** Whether this request is one of those that the fault is for. */
  #arm(connection: Connection, request: string): void {
    for (const waiter of this.#waiters) {
      if (!request.includes(waiter.text)) continue;
      waiter.left -= 1;
      if (waiter.left > 0) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
    if (!this.#fault || connection.fault || this.#left === 0) return;
    if (!request.includes(this.#fault.matching ?? '')) return;
    this.#left -= 1;
    connection.fault = this.#fault;
  }

  #pass(connection: Connection, pass: () => void): void {
    const { fault, held, late } = connection;
    const delayMs = fault?.kind === 'latency' ? fault.ms : 0;
    if (fault?.kind === 'blackhole') held.push(pass);
    else if (delayMs === 0 && late.length === 0) pass();
    else {
      // In their order, also when the fault ends meanwhile.
      late.push(pass);
      setTimeout(() => late.shift()?.(), delayMs);
    }
  }

  #answer(connection: Connection, chunk: Buffer): void {
    const { client, fault } = connection;
    switch (fault?.kind) {
      case 'reset-after-request':
        client.resetAndDestroy();
        return;
      case 'reset-after-headers': {
        client.write(chunk.subarray(0, chunk.indexOf('\r\n\r\n') + 4));
        // A reset overtakes what the receiver has not read yet.
        setTimeout(() => client.resetAndDestroy(), 20);
        return;
      }
      case 'truncate':
        client.end(chunk.subarray(0, chunk.length / 2));
        return;
      default:
        this.#pass(connection, () => client.write(chunk));
    }
  }
}

/** Starts a proxy to a port of this machine; close it at the end. */
export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  const proxy = new FaultProxy(targetPort);
  await proxy.start();
  return proxy;
}
