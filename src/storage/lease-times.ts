/** How long a lease lasts without its holder's heartbeat: what a killed process costs the others. */
export const LEASE_MS = 3000;
export const HEARTBEAT_MS: number = LEASE_MS / 3;

/** How long a waiter respects a lease that the store forgot: its holder may be committing after a restart. */
export const FORGOTTEN_MS = 5000;

/** How many such leases a process remembers. */
export const MAX_RESPECTED = 10_000;
