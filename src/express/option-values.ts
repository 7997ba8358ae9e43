import { IncomingMessage, ServerResponse } from 'node:http';
import { ConfigurationError } from '../core/errors.ts';
import type { RingKey } from '../storage/encryption.ts';

/** Small readers of option values: each gives the value in its one form, or throws a sentence that fixes it. */

export function fail(message: string): never {
  throw new ConfigurationError(message);
}

export function plainObject(value: unknown, what: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new TypeError(`${what} takes an object`);
}

export function knownFields(value: object, names: readonly string[], what: string): void {
  plainObject(value, what);
  refuseRequest(value, what);
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw new TypeError(`${what} has no option ${JSON.stringify(unknown)}; it takes ${names.join(', ')}`);
}

/** Express gives a request to what was mounted itself, without having been called. */
export function refuseRequest(value: unknown, what: string): void {
  if (value instanceof IncomingMessage || value instanceof ServerResponse)
    throw new TypeError(
      `${what} was given a request: write ${what} where it is mounted, with the parentheses`,
    );
}

/** A text from options or, without one there, from the environment. Two that differ are an error. */
export function takeText<T extends object>(
  options: T,
  env: NodeJS.ProcessEnv,
  names: readonly (keyof T & string)[],
  variables: readonly string[],
): string | undefined {
  const given = names
    .filter((name) => options[name] !== undefined)
    .map((name) => [name, options[name]] as const);
  const wrong = given.find(([, value]) => typeof value !== 'string' || value === '');
  if (wrong !== undefined) throw new TypeError(`${wrong[0]} must be a non-empty string`);
  const set = variables.filter((name) => (env[name] ?? '') !== '').map((name) => [name, env[name]] as const);
  const [first, ...others] = (given.length > 0 ? given : set) as readonly (readonly [string, string])[];
  const other = others.find(([, value]) => value !== first?.[1]);
  if (first !== undefined && other !== undefined)
    fail(`${first[0]} and ${other[0]} mean the same and differ: keep one of them.`);
  return first?.[1];
}

export function parseUrl(text: string, what: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['https:', 'http:'].includes(url.protocol))
    fail(`${what} must be an absolute URL, such as https://app.example; it is ${JSON.stringify(text)}.`);
  if (url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '')
    fail(`${what} must be a URL without user, query and fragment.`);
  return url;
}

export function parseRoute(value: unknown, what: string): string | false | undefined {
  if (value === undefined || value === false) return value;
  if (typeof value !== 'string' || !/^\/[^?#\s]*$/.test(value))
    throw new TypeError(`${what} must be a path such as /login`);
  return value;
}

export function choice<T extends string | boolean>(
  value: unknown,
  choices: readonly T[],
  what: string,
): T | undefined {
  if (value === undefined) return undefined;
  const chosen = choices.find((candidate) => candidate === value);
  if (chosen === undefined) throw new TypeError(`${what} must be one of ${choices.join(', ')}`);
  return chosen;
}

export function enabled(value: unknown, what: string): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new TypeError(`${what} must be true or false`);
  return value ?? false;
}

export function positive(value: unknown, what: string): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0)
    throw new TypeError(`${what} must be a positive number`);
  return value;
}

export function zeroOrMore(value: unknown, what: string): number | undefined {
  return value === 0 ? 0 : positive(value, what);
}

/** The longest that a timer can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export function milliseconds(value: unknown, what: string): number | undefined {
  const parsed = positive(value, what);
  if (parsed !== undefined && parsed > MAX_TIMER_MS)
    throw new TypeError(`${what} must be at most ${MAX_TIMER_MS} milliseconds`);
  return parsed;
}

export function nonEmpty(value: unknown, what: string): string | undefined {
  if (value !== undefined && (typeof value !== 'string' || value === ''))
    throw new TypeError(`${what} must be a non-empty string`);
  return value;
}

export function functionOrUndefined<T>(value: T, what: string): T {
  if (value !== undefined && typeof value !== 'function') throw new TypeError(`${what} must be a function`);
  return value;
}

/** Keys from the option, else from `kid:base64,kid:base64`. */
export function parseEncryptionKeys(option: unknown, variable: string | undefined): RingKey[] {
  const entries = option ?? fromVariable(variable);
  if (!Array.isArray(entries)) throw new TypeError('encryptionKeys must be an array of { kid, key }');
  const keys = entries.map((entry: { kid?: unknown; key?: unknown } | null, index): RingKey => {
    const { kid, key } = entry ?? {};
    if (typeof kid !== 'string' || kid === '')
      fail(`encryptionKeys[${index}].kid must be a non-empty string.`);
    const bytes = typeof key === 'string' ? Buffer.from(key, 'base64') : key;
    const given = bytes instanceof Uint8Array ? bytes : new Uint8Array();
    if (given.length !== 32)
      fail(
        `The encryption key ${JSON.stringify(kid)} must be 32 bytes, or their base64: it has ${given.length}.`,
      );
    return { kid, key: given };
  });
  if (new Set(keys.map((key) => key.kid)).size < keys.length)
    fail('Two encryption keys have the same kid: every key needs its own.');
  return keys;
}

function fromVariable(variable = ''): { kid: string; key: string }[] {
  return variable
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
    .map((entry) => {
      const colon = entry.indexOf(':');
      if (colon < 1) fail('OIDC_ENCRYPTION_KEYS must be kid:base64, several separated by commas.');
      return { kid: entry.slice(0, colon), key: entry.slice(colon + 1) };
    });
}
