/**
 * Calls `late` when the time is over and whatever arrived by then has been read; the result cancels it.
 *
 * Node runs timers before sockets: a process that was busy for longer than the deadline would take an answer that
 * has been lying there for none. The timer keeps no process alive.
 */
export function startDeadline(deadlineMs: number, late: () => void): () => void {
  let isCancelled = false;
  const timer = setTimeout(() => {
    setImmediate(() => {
      if (!isCancelled) late();
    });
  }, deadlineMs);
  timer.unref?.();
  return () => {
    isCancelled = true;
    clearTimeout(timer);
  };
}
