const RealDate = globalThis.Date;
const realPerformanceNow = performance.now.bind(performance);

let offsetMs = 0;

const ShiftedDate = new Proxy(RealDate, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length > 0 ? args : [target.now() + offsetMs], newTarget),
  apply: () => new RealDate(RealDate.now() + offsetMs).toString(),
  get: (target, property, receiver) =>
    property === 'now' ? () => target.now() + offsetMs : Reflect.get(target, property, receiver),
});

/**
 * Moves this process's clock: `Date` and `performance.now()`, on which lru-cache counts. Both go on running, unlike
 * under Jest's fake timers, where a long flight would see a frozen clock; timers and sockets stay real. The provider
 * and the stores of the same process follow; Redis has a clock of its own.
 */
export function travel(seconds: number): void {
  offsetMs += seconds * 1000;
  globalThis.Date = ShiftedDate;
  performance.now = () => realPerformanceNow() + offsetMs;
}

/** Back to the real time; call it in `afterEach`. */
export function restoreTime(): void {
  offsetMs = 0;
  globalThis.Date = RealDate;
  performance.now = realPerformanceNow;
}

/** The (travelled) time in epoch seconds. */
export function now(): number {
  return Math.floor(Date.now() / 1000);
}
