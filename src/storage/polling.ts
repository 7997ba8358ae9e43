export function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}

/** Between three quarters and five quarters of a delay, so that waiting processes do not ask in step. */
export function jittered(delayMs: number): number {
  return delayMs * (0.75 + Math.random() / 2);
}

/** How long to wait between two looks at what another process holds. */
export function nextDelay(delayMs: number): number {
  return Math.min(2 * delayMs, POLL_MS.most);
}

export const POLL_MS = { first: 25, most: 200 } as const;
