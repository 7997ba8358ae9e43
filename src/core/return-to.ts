/**
 * Turns what a stranger gave as a return address into a path on the app's own origin, else into the fallback.
 *
 * A URL of the app's origin is taken too; everything else (another origin, `//host`, `/\host`, other schemes,
 * userinfo, control characters, encodings that a second decoding would turn into one of these) is not.
 */
export function safeReturnTo(candidate: unknown, baseUrl: URL, fallback: string = homePath(baseUrl)): string {
  if (typeof candidate !== 'string' || candidate === '' || candidate.length > 4096) return fallback;
  if (!isClean(candidate)) return fallback;
  const isPath = candidate.startsWith('/') && !candidate.startsWith('//');
  const isOwnUrl = candidate === baseUrl.origin || candidate.startsWith(`${baseUrl.origin}/`);
  if (!isPath && !isOwnUrl) return fallback;
  if (!URL.canParse(candidate, baseUrl.origin)) return fallback;
  const url = new URL(candidate, baseUrl.origin);
  if (url.origin !== baseUrl.origin || url.username !== '' || url.password !== '') return fallback;
  // `/./` and `/x/../` can leave a path that starts with two slashes.
  if (/^\/[/\\]/.test(url.pathname) || !isClean(url.pathname)) return fallback;
  return publicPath(url.pathname, baseUrl) + url.search + url.hash;
}

/** The path under which a browser sees what the app sees as `path`: it starts with the path of the base URL. */
export function publicPath(path: string, baseUrl: URL): string {
  const base = basePath(baseUrl);
  return base === '' || path === base || path.startsWith(`${base}/`) || path.startsWith(`${base}?`)
    ? path
    : base + path;
}

/** The base URL's path without a slash at its end: `''` or `/app`. */
function basePath(baseUrl: URL): string {
  return baseUrl.pathname.replace(/\/+$/, '');
}

export function homePath(baseUrl: URL): string {
  return `${basePath(baseUrl)}/`;
}

/**
 * The path as it is and as it is after one and two more decodings: no control character, backslash, `//` at its start.
 * A space is one only when it was encoded: a raw one is none of a URL.
 */
function isClean(text: string): boolean {
  let path = text.split(/[?#]/, 1)[0] as string;
  if (path.includes(' ')) return false;
  for (let round = 0; round < 3; round += 1) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this looks for
    if (/[\u0000-\u001f\u007f\\]/.test(path) || /^\/{2}/.test(path)) return false;
    const decoded = decode(path);
    if (decoded === undefined) return round > 0;
    if (decoded === path) return true;
    path = decoded;
  }
  return true;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
