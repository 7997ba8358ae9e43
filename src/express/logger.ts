import type { Logger } from '../core/ports.ts';

const silent = (): void => undefined;

/** Warnings and errors to the console. */
export const consoleLogger: Logger = {
  debug: silent,
  info: silent,
  warn: (message, details) => console.warn(...line(message, details)),
  error: (message, details) => console.error(...line(message, details)),
};

function line(message: string, details: object | undefined): unknown[] {
  return details === undefined
    ? [`express-oidc-tokens: ${message}`]
    : [`express-oidc-tokens: ${message}`, details];
}

export function parseLogger(logger: unknown): Logger {
  const methods = ['debug', 'info', 'warn', 'error'] as const;
  const missing = methods.find(
    (method) => typeof (logger as Record<string, unknown> | null)?.[method] !== 'function',
  );
  if (missing !== undefined) throw new TypeError(`logger needs the method ${missing}(message, details)`);
  return logger as Logger;
}
