import { StoreUnavailableError } from '../core/errors.ts';
import type { Events } from '../core/ports.ts';
import { startDeadline } from './deadline.ts';
import { explainRedisFault } from './redis-advice.ts';

/** A client of `redis` (node-redis): one of its commands as words. */
interface NodeRedisClient {
  sendCommand(words: string[]): Promise<unknown>;
}

/** A cluster client of `redis`: it wants to know the key that decides where a command goes. */
interface NodeRedisCluster {
  readonly masters: unknown;
  sendCommand(firstKey: string, isReadonly: boolean, words: string[]): Promise<unknown>;
}

/** A sentinel client of `redis`. */
interface NodeRedisSentinel {
  getMasterNode(): unknown;
  sendCommand(isReadonly: boolean, words: string[]): Promise<unknown>;
}

/** A client of `ioredis`, for one server or a cluster. */
interface IoRedisClient {
  call(command: string, ...words: string[]): Promise<unknown>;
}

/** Any client that can send a command; neither package is a dependency. */
export type RedisClient = NodeRedisClient | NodeRedisCluster | NodeRedisSentinel | IoRedisClient;

export function isRedisClient(client: unknown): client is RedisClient {
  if (typeof client !== 'object' || client === null) return false;
  const { call, sendCommand } = client as Partial<IoRedisClient & NodeRedisClient>;
  return typeof call === 'function' || typeof sendCommand === 'function';
}

/** A Lua script by its text and its SHA-1, under which a server remembers it. */
export interface RedisScript {
  readonly text: string;
  readonly sha1: string;
}

export interface RedisDeadlines {
  /** For loading and for the lease. */
  readonly readMs: number;
  /** For commits. */
  readonly writeMs: number;
}

/** The few commands that the engine sends, each with a deadline, each about one key. */
export class RedisCommands {
  readonly #client: RedisClient;
  readonly #deadlines: RedisDeadlines;
  readonly #events: Events;

  constructor(client: RedisClient, deadlines: RedisDeadlines, events: Events) {
    this.#client = client;
    this.#deadlines = deadlines;
    this.#events = events;
  }

  read(key: string, command: string, ...words: string[]): Promise<unknown> {
    return this.#within(this.#deadlines.readMs, 'answer', this.#send(key, [command, key, ...words]));
  }

  write(key: string, command: string, ...words: string[]): Promise<unknown> {
    return this.#within(this.#deadlines.writeMs, 'store a record', this.#send(key, [command, key, ...words]));
  }

  /**
   * Runs a script about one key. A server that does not know it by its SHA-1 (restarted, flushed) gets its text.
   *
   * @param onLate takes an answer that comes after the deadline: clients keep commands until a server is back.
   */
  run(
    script: RedisScript,
    key: string,
    words: readonly (string | number)[],
    what: 'read' | 'write',
    onLate?: (answer: unknown) => void,
  ): Promise<unknown> {
    const rest = ['1', key, ...words.map(String)];
    const evaluated = this.#send(key, ['EVALSHA', script.sha1, ...rest]).catch((error: unknown) => {
      if (!String((error as { message?: unknown }).message).includes('NOSCRIPT')) throw error;
      return this.#send(key, ['EVAL', script.text, ...rest]);
    });
    const deadlineMs = what === 'read' ? this.#deadlines.readMs : this.#deadlines.writeMs;
    return this.#within(deadlineMs, what === 'read' ? 'answer' : 'store a record', evaluated, onLate);
  }

  #send(key: string, words: string[]): Promise<unknown> {
    const client = this.#client;
    if ('call' in client) return client.call(words[0] as string, ...words.slice(1));
    if ('masters' in client) return client.sendCommand(key, false, words);
    if ('getMasterNode' in client) return client.sendCommand(false, words);
    return client.sendCommand(words);
  }

  async #within(
    deadlineMs: number,
    what: string,
    work: Promise<unknown>,
    onLate?: (answer: unknown) => void,
  ): Promise<unknown> {
    let cancel: () => void = () => undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      cancel = startDeadline(deadlineMs, () => {
        this.#events.storeTimedOut({});
        work.then(onLate, () => undefined);
        reject(new StoreUnavailableError(`Redis did not ${what} within ${deadlineMs} ms.`));
      });
    });
    try {
      return await Promise.race([work, timeout]);
    } catch (error) {
      if (error instanceof StoreUnavailableError) throw error;
      const reason = explainRedisFault(error);
      throw new StoreUnavailableError(
        `Redis could not ${what}${reason === undefined ? '' : `: ${reason}`}.`,
        error,
      );
    } finally {
      cancel();
    }
  }
}
