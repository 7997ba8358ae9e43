const { warn } = console;

/** oidc-provider says on Node 20 that it prefers Node 22: once per test file, and for nobody. Import this before it. */
console.warn = (...args: unknown[]) => {
  if (!String(args[0]).includes('oidc-provider WARNING: Unsupported runtime')) warn(...args);
};
