import { type ChildProcess, fork } from 'node:child_process';
import type { FleetAppConfig, FromProcess, ToProcess } from './fleet-app.ts';

const PATIENCE_MS = 15_000;

/** One process of a fleet. */
export class FleetProcess {
  readonly index: number;
  /** How it ended: `code 0`, `SIGKILL`, … */
  readonly exited: Promise<string>;
  /** Everything it wrote. */
  output = '';
  port = 0;
  isRunning = true;
  readonly #child: ChildProcess;
  readonly #told: FromProcess[] = [];
  readonly #listeners = new Set<() => void>();

  private constructor(bundle: string, index: number) {
    this.index = index;
    const { NODE_OPTIONS: _options, ...env } = process.env;
    this.#child = fork(bundle, {
      execArgv: [],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      env: { ...env, NODE_ENV: 'development' },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#child.on('message', (message: FromProcess) => {
      this.#told.push(message);
      this.#notify();
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        this.isRunning = false;
        resolve(signal ?? `code ${code}`);
        this.#notify();
      });
    });
  }

  /** @param port default: any free one. */
  static async boot(bundle: string, index: number, port = 0): Promise<FleetProcess> {
    const process = new FleetProcess(bundle, index);
    await process.when('booted', ({ type }) => type === 'booted');
    process.#tell({ type: 'listen', port });
    const listening = await process.when('listening', ({ type }) => type === 'listening');
    process.port = (listening as FromProcess & { type: 'listening' }).port;
    return process;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(config: FleetAppConfig): Promise<void> {
    this.#tell({ type: 'start', config });
    await this.when('started', ({ type }) => type === 'started');
  }

  async travel(seconds: number): Promise<void> {
    const before = this.#count('travelled');
    this.#tell({ type: 'travel', seconds });
    await this.when('travelled', () => this.#count('travelled') > before);
  }

  /** Resolves when a handler waits at this gate. */
  async at(gate: string): Promise<void> {
    await this.when(`at ${gate}`, (message) => message.type === 'at' && message.gate === gate);
  }

  open(gate: string): void {
    this.#tell({ type: 'open', gate });
  }

  /** The details of the events with this name, so far. */
  events(name: string): unknown[] {
    return this.#told.flatMap((message) =>
      message.type === 'event' && message.name === name ? [message.details] : [],
    );
  }

  async event(name: string): Promise<void> {
    await this.when(name, (message) => message.type === 'event' && message.name === name);
  }

  kill(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(signal);
  }

  /** Asks it to end, as a deployment would; how it ended. */
  async end(): Promise<string> {
    if (!this.isRunning) return this.exited;
    this.kill('SIGCONT');
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), PATIENCE_MS);
    return this.exited.finally(() => clearTimeout(timer));
  }

  /** The first message, already there or still to come, that fits. */
  async when(what: string, fits: (message: FromProcess) => boolean): Promise<FromProcess> {
    const until = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = this.#told.find(fits);
      if (found !== undefined) return found;
      if (!this.isRunning || Date.now() > until)
        throw new Error(`process ${this.index} did not tell "${what}":\n${this.output}`);
      await this.#news();
    }
  }

  #news(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        resolve();
      };
      const timer = setTimeout(done, 1000);
      this.#listeners.add(done);
    });
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #count(type: FromProcess['type']): number {
    return this.#told.filter((message) => message.type === type).length;
  }

  #tell(message: ToProcess): void {
    if (this.#child.connected) this.#child.send(message);
  }
}
