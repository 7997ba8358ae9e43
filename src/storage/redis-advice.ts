/** What a Redis server says when it cannot do its part, and what that means. Scripts carry it in the middle of a text. */
const FAULTS: readonly (readonly [RegExp, string])[] = [
  [
    /\bNOPERM\b|unknown (redis )?command/i,
    'it does not allow a command that is needed, see Permissions in docs/operations.md',
  ],
  [/\b(NOAUTH|WRONGPASS)\b|invalid password/i, 'it does not take the user and password of this client'],
  [/\bOOM\b/, 'it is out of memory'],
  [/\bREADONLY\b/, 'it is a read-only replica'],
  [/\bLOADING\b/, 'it is still loading its data'],
  [/\bMISCONF\b/, 'it cannot write to its disk'],
  [/\b(CLUSTERDOWN|MASTERDOWN)\b/, 'a part of it is down'],
  [/non deterministic commands/, 'it is older than Redis 5'],
];

/** In words of ours: the server's own may hold what it was sent. Undefined for a fault of the connection. */
export function explainRedisFault(error: unknown): string | undefined {
  const { message } = error as { message?: unknown };
  return FAULTS.find(([pattern]) => pattern.test(String(message)))?.[1];
}

const OLDEST_MAJOR = 5;

/** What the server's `INFO` says against keeping tokens there. */
export function redisWarnings(info: string): string[] {
  const fieldOf = (name: string) => new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1];
  const version = fieldOf('redis_version');
  const policy = fieldOf('maxmemory_policy');
  const warnings: string[] = [];
  if (version !== undefined && Number.parseInt(version, 10) < OLDEST_MAJOR)
    warnings.push(
      `Redis ${version} is too old to keep tokens: take Redis ${OLDEST_MAJOR} or later, or Valkey.`,
    );
  if (policy !== undefined && policy !== 'noeviction' && fieldOf('maxmemory') !== '0') {
    warnings.push(
      `Redis drops records when its memory is full (maxmemory-policy ${policy}), and users' tokens with them: set noeviction.`,
    );
  }
  return warnings;
}
