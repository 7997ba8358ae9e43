/** Somebody that takes steps: a process with one request, or a logout. */
export interface Actor {
  readonly name: string;
  /** It takes no step any more. */
  isCrashed: boolean;
}

interface Step {
  readonly label: string;
  readonly actor: Actor | undefined;
  /** What was sent arrives also when its sender is dead. */
  readonly isOnTheWire: boolean;
  readonly isEnabled: () => boolean;
  readonly take: () => void;
}

/** Something that may happen, or not: a crash, a stall. */
export interface Mishap {
  readonly label: string;
  readonly isEnabled: () => boolean;
  readonly take: () => void;
}

/** The way that a run takes. */
export interface Path {
  /** Picks one of so many alternatives. */
  choose(alternatives: number): number;
  /** False where an earlier run came to this state: what follows is known. */
  enter(state: string): boolean;
}

/** What the simulated store needs of whoever decides about the order of steps. */
export type Turns = Pick<Scheduler, 'turn' | 'note' | 'pick'>;

const IMMEDIATE = setImmediate;
const MAX_STEPS = 200;

/**
 * Runs asynchronous code one step at a time: whoever touches what is shared waits for its turn, and one of the steps
 * that are possible is chosen. Between two choices everybody has come to its next step, or to its end.
 */
export class Scheduler {
  readonly trace: string[] = [];
  readonly #path: Path;
  /** What each actor has done and seen: it is where it is because of that, and of nothing else. */
  readonly #histories = new Map<string, string>();
  #steps: Step[] = [];
  #busy = 0;
  #unfinished = 0;

  constructor(path: Path) {
    this.#path = path;
  }

  /** The actors' part of the state. */
  get histories(): readonly [string, string][] {
    return [...this.#histories].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** Notes what an actor sees of the world. */
  note(actor: Actor, seen: string): void {
    this.#histories.set(actor.name, `${this.#histories.get(actor.name) ?? ''};${seen}`);
  }

  /** Starts an actor; what it ends with is its own business. */
  start(actor: Actor, work: () => Promise<void>): void {
    this.#busy += 1;
    this.#unfinished += 1;
    void work().finally(() => {
      this.#busy -= 1;
      if (!actor.isCrashed) this.#unfinished -= 1;
    });
  }

  /** Resolves when this step is chosen; never, when its actor has crashed before. */
  turn(
    actor: Actor,
    label: string,
    {
      isEnabled = () => true,
      isOnTheWire = false,
    }: { isEnabled?: () => boolean; isOnTheWire?: boolean } = {},
  ): Promise<void> {
    this.#busy -= 1;
    if (actor.isCrashed) return new Promise(() => {});
    return new Promise((resolve) => {
      const take = () => {
        this.#busy += 1;
        this.note(actor, label);
        resolve();
      };
      this.#steps.push({ label: `${actor.name} ${label}`, actor, isOnTheWire, isEnabled, take });
    });
  }

  /** A choice inside of a step. */
  pick<T>(label: string, alternatives: readonly T[]): T {
    const picked = alternatives[this.#path.choose(alternatives.length)] as T;
    if (alternatives.length > 1) this.trace.push(`  ${label}: ${String(picked)}`);
    return picked;
  }

  crash(actor: Actor): void {
    actor.isCrashed = true;
    this.note(actor, 'crashes');
    this.#unfinished -= 1;
    this.#steps = this.#steps.filter((step) => step.actor !== actor || step.isOnTheWire);
  }

  /**
   * Until everybody has ended. What may happen does, at every moment at which it can, or does not. False where an
   * earlier run went on from the same state.
   */
  async run(mishaps: readonly Mishap[] = [], state: () => string = () => ''): Promise<boolean> {
    for (let steps = 0; steps < MAX_STEPS; steps += 1) {
      await this.#settle();
      if (!this.#path.enter(JSON.stringify([this.histories, state()]))) return false;
      const due = this.#steps.filter((step) => step.isEnabled() && !step.actor?.isCrashed);
      const late = this.#steps.filter((step) => step.actor?.isCrashed && step.isEnabled());
      const chances = [...mishaps.filter((mishap) => mishap.isEnabled()), ...late];
      if (due.length === 0 && this.#unfinished > 0 && chances.length === 0)
        throw new Error(`nobody can take a step:\n${this.trace.join('\n')}`);
      // The end is one of the alternatives where only what need not happen is left.
      const end = due.length === 0 && this.#unfinished === 0 ? [undefined] : [];
      const possible = [...end, ...due, ...chances];
      const chosen = possible[this.#path.choose(possible.length)];
      if (chosen === undefined) return true;
      this.trace.push(chosen.label);
      this.#steps = this.#steps.filter((step) => step !== chosen);
      chosen.take();
    }
    throw new Error(`no end after ${MAX_STEPS} steps:\n${this.trace.join('\n')}`);
  }

  async #settle(): Promise<void> {
    for (let turns = 0; this.#busy > 0; turns += 1) {
      if (turns > 10_000) throw new Error(`somebody waits for nothing:\n${this.trace.join('\n')}`);
      await new Promise((resolve) => IMMEDIATE(resolve));
    }
  }
}

export interface Explored {
  /** Orders of events, all of them. */
  interleavings: number;
  /** Runs that it took: where two orders lead to the same state, what follows is played once. */
  runs: number;
}

/**
 * Every order there is, depth first: each run begins anew and takes another way at the last choice that has one left.
 */
export async function explore(play: (path: Path) => Promise<void>): Promise<Explored> {
  /** How many ways lead on from a state to an end. */
  const ways = new Map<string, number>();
  let interleavings = 0;
  let prefix: number[] = [];
  for (let runs = 1; ; runs += 1) {
    const taken: { choice: number; of: number }[] = [];
    const entered: string[] = [];
    let known = 1;
    const choose = (of: number) => {
      const choice = prefix[taken.length] ?? 0;
      taken.push({ choice, of });
      return choice;
    };
    const enter = (state: string) => {
      const earlier = taken.length < prefix.length ? undefined : ways.get(state);
      if (earlier === undefined) entered.push(state);
      else known = earlier;
      return earlier === undefined;
    };
    await play({ choose, enter });
    interleavings += known;
    for (const state of entered) ways.set(state, (ways.get(state) ?? 0) + known);
    let last = taken.pop();
    while (last !== undefined && last.choice + 1 === last.of) last = taken.pop();
    if (last === undefined) return { interleavings, runs };
    prefix = [...taken.map(({ choice }) => choice), last.choice + 1];
  }
}
