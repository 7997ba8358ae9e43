const PUBLIC = /^(client_id|redirect_uri|scope|resource|audience|claims|requested_token_use|.*_type)$/;

/** No log takes more. */
const MAX_LENGTH = 2000;

/** How URLs, pages and JSON spell what is neither letter nor digit. */
const ESCAPE = String.raw`%[\da-f]{2}|&#?[a-z\d]{1,8};|\\u[\da-f]{4}`;
const LETTER = new RegExp(`${ESCAPE}|[a-z\\d]`, 'gi');
/** As much of a secret as says something of it. */
const PART = new RegExp(`${ESCAPE}|[\\w-]{8,}`, 'gi');

/**
 * A provider's words about a request. Some quote what they refuse: whole, escaped, or as much as fits. Of an escaped
 * one the punctuation at its ends may stay.
 */
export function withoutSecrets(words: string, sent: RequestInit): string {
  const secrets = secretsIn(sent);
  const text = words.slice(0, MAX_LENGTH);
  const isHidden = new Uint8Array(text.length);
  const letters = [...text.matchAll(LETTER)].filter(([match]) => match.length === 1);
  const spelled = lettersOf(letters.join(''));
  for (const secret of secrets) {
    for (const start of occurrences(text, secret)) isHidden.fill(1, start, start + secret.length);
    const bare = lettersOf(secret);
    for (const start of occurrences(spelled, bare)) {
      const last = letters[start + bare.length - 1];
      isHidden.fill(1, letters[start]?.index, (last?.index ?? 0) + 1);
    }
  }
  for (const { 0: part, index } of text.matchAll(PART)) {
    if (part.length >= 8 && secrets.some((secret) => secret.includes(part)))
      isHidden.fill(1, index, index + part.length);
  }
  return [...isHidden]
    .map((hidden, index) => (hidden ? '\0' : text[index]))
    .join('')
    .replace(/\0+/g, '…');
}

function lettersOf(text: string): string {
  return text.replace(/[^a-z\d]/gi, '').toLowerCase();
}

function occurrences(text: string, word: string): number[] {
  const found: number[] = [];
  if (word === '') return found;
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) found.push(at);
  return found;
}

function secretsIn({ body, headers }: RequestInit): string[] {
  const parameters = [...new URLSearchParams(body as URLSearchParams)];
  const [, credentials = ''] = new Headers(headers).get('authorization')?.split(' ') ?? [];
  const encoded = Buffer.from(credentials, 'base64')
    .toString()
    .replace(/^[^:]*:?/, '');
  const password = new URLSearchParams(`password=${encoded}`).get('password') ?? '';
  return [
    ...parameters.flatMap(([name, value]) => (PUBLIC.test(name) ? [] : [value])),
    credentials,
    encoded,
    password,
  ]
    .flatMap((secret) => [secret, encodeURIComponent(secret)])
    .filter((secret) => secret !== '');
}
