const { warn } = console;

/** What oidc-provider says in every test file and nobody needs: its wish for Node 22, and loopback `fetch` allowed. */
const KNOWN = /oidc-provider WARNING: (Unsupported runtime|failed to setup SSRF protection)/;

/** Import this before oidc-provider, which speaks while it is loaded. */
console.warn = (...args: unknown[]) => {
  if (!KNOWN.test(String(args[0]))) warn(...args);
};
