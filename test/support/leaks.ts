import { inspect } from 'node:util';
import { expect, jest } from '@jest/globals';
import type { SecretKind, TestProvider } from './provider.ts';

const METHODS = ['debug', 'error', 'info', 'log', 'trace', 'warn'] as const;

/** The console's output since `collectConsole()`. */
export interface ConsoleOutput {
  lines: { method: (typeof METHODS)[number]; text: string }[];
  text(): string;
  restore(): void;
}

/** Takes everything that is written to the console, and shows none of it. */
export function collectConsole(): ConsoleOutput {
  const lines: ConsoleOutput['lines'] = [];
  const spies = METHODS.map((method) =>
    jest.spyOn(console, method).mockImplementation((...args: unknown[]) => {
      lines.push({
        method,
        text: args.map((argument) => (typeof argument === 'string' ? argument : inspect(argument))).join(' '),
      });
    }),
  );
  return {
    lines,
    text: () => lines.map(({ text }) => text).join('\n'),
    restore: () => {
      for (const spy of spies) spy.mockRestore();
    },
  };
}

/**
 * Gives rejections that nobody handles the time to surface. Jest (30) fails the running test on each of them by
 * itself, and a test cannot listen to them: `process` is a copy in its sandbox. So await this at the end of a test that
 * starts work in the background.
 */
export async function surfaceRejections(): Promise<void> {
  // The first turn runs Node's check, the second lets Jest see it.
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Every way in which a secret may be written. */
function spellings(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [
    secret,
    encodeURIComponent(secret),
    bytes.toString('base64'),
    bytes.toString('base64url'),
    bytes.toString('hex'),
  ];
}

/**
 * No token, code, client secret or verifier that the provider knows occurs in `text` (a string, or anything that is
 * then serialized), in clear or encoded. `except` names what may be there, e.g. `['access_token']` for an app's answer.
 */
export function expectNoSecrets(
  text: unknown,
  provider: TestProvider,
  { except = [] }: { except?: SecretKind[] } = {},
): void {
  const searched =
    typeof text === 'string' ? text : `${JSON.stringify(text)} ${inspect(text, { depth: 20 })}`;
  const found = [...provider.knownSecrets()].filter(
    ([secret, kind]) =>
      !except.includes(kind) && spellings(secret).some((spelling) => searched.includes(spelling)),
  );
  expect(found.map(([secret, kind]) => `${kind} ${secret.slice(0, 6)}…`)).toEqual([]);
}
