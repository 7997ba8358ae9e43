import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';

/** A process that did not stop by then is killed: its own deadline for tokens is ten seconds. */
const STOP_WITHIN_MS = 12_000;

/** The processes of the web app, each a fork of web-process.ts. One that dies is replaced. */
export class WebProcesses {
  readonly #env: NodeJS.ProcessEnv;
  readonly #running = new Set<ChildProcess>();
  readonly #ports = new Map<ChildProcess, number>();
  #started = 0;
  #isStopping = false;

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
  }

  /** Of those that are up. */
  ports(): number[] {
    return [...this.#ports.values()];
  }

  /** Resolves when the process takes requests. */
  async start(): Promise<void> {
    this.#started += 1;
    const name = `${this.#started}`;
    const child = fork(new URL('./web-process.ts', import.meta.url), {
      env: { ...this.#env, SAMPLE_PROCESS: name },
      detached: true, // Ctrl-C is for the first process; it tells the others when it is their turn
    });
    this.#running.add(child);
    child.once('exit', (code, signal) => {
      this.#running.delete(child);
      if (!this.#ports.delete(child) || this.#isStopping) return;
      console.log(
        `  process ${name} (pid ${child.pid}) ended (${signal ?? code}); another one takes its place`,
      );
      this.start().catch((error: unknown) => console.error(error));
    });
    const exited = once(child, 'exit').then(() => {
      throw new Error(`process ${name} ended before it was ready`);
    });
    exited.catch(() => undefined); // once it is ready, this is no news
    const [port] = await Promise.race([once(child, 'message'), exited]);
    this.#ports.set(child, port);
  }

  /** Resolves when all are gone. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(
      [...this.#running].map(async (child) => {
        const exited = once(child, 'exit');
        child.kill();
        const late = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
        await exited;
        clearTimeout(late);
      }),
    );
  }
}
