/** One challenge of a `WWW-Authenticate` header (RFC 9110 §11.6.1). Parameter names are in lower case. */
export interface AuthChallenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const PARAMETER = new RegExp(`(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|(${TOKEN}))`, 'y');
const SCHEME = new RegExp(`(${TOKEN})(?:[ \\t]+|(?=,|$))`, 'y');
const TOKEN68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const SEPARATOR = /[ \t]*(?:,[ \t]*)*/y;
const MAX_LENGTH = 16_384;

/**
 * Reads every challenge of a header, several schemes, quoting and commas included. What is malformed ends the
 * reading; what came before it counts.
 */
export function parseWwwAuthenticate(header: string | null | undefined): AuthChallenge[] {
  const text = (header ?? '').slice(0, MAX_LENGTH);
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = skip(SEPARATOR, text, 0);
  while (at < text.length) {
    const last = challenges.at(-1);
    const parameter = last && match(PARAMETER, text, at);
    if (last && parameter) {
      const name = (parameter[1] as string).toLowerCase();
      // RFC 9110: a parameter occurs once; the first one counts.
      if (!Object.hasOwn(last.parameters, name))
        last.parameters[name] = parameter[2]?.replace(/\\(.)/g, '$1') ?? (parameter[3] as string);
      at = skip(SEPARATOR, text, at + parameter[0].length);
      continue;
    }
    const scheme = match(SCHEME, text, at);
    if (!scheme) break;
    challenges.push({ scheme: scheme[1] as string, parameters: {} });
    at += scheme[0].length;
    const isParameter = match(PARAMETER, text, at) !== null;
    if (!isParameter) at += match(TOKEN68, text, at)?.[0].length ?? 0;
    at = skip(SEPARATOR, text, at);
  }
  return challenges;
}

/** The parameters of the Bearer challenge of a header: of several the one that says what is wrong. */
export function bearerParameters(header: string | null): Readonly<Record<string, string>> {
  const all = parseWwwAuthenticate(header)
    .filter(({ scheme }) => scheme.toLowerCase() === 'bearer')
    .map(({ parameters }) => parameters);
  return all.find(({ error, claims }) => (error ?? claims) !== undefined) ?? all[0] ?? {};
}

/** Builds one challenge; values are quoted, what a quoted string cannot hold is left out. */
export function formatChallenge(
  scheme: string,
  parameters: Readonly<Record<string, string | undefined>>,
): string {
  const parts = Object.entries(parameters)
    .filter((entry): entry is [string, string] => entry[1] !== undefined)
    .map(([name, value]) => `${name}="${value.replace(/[^\x20-\x7e]/g, ' ').replace(/["\\]/g, '\\$&')}"`);
  return parts.length === 0 ? scheme : `${scheme} ${parts.join(', ')}`;
}

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function skip(pattern: RegExp, text: string, at: number): number {
  return at + (match(pattern, text, at)?.[0].length ?? 0);
}
