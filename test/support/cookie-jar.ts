interface Cookie {
  host: string;
  path: string;
  name: string;
  value: string;
  expiresAt: number;
  secure: boolean;
  httpOnly: boolean;
  sameSite: 'strict' | 'lax' | 'none';
}

/** What a cookie's `SameSite` is judged by. */
export interface CookieContext {
  crossSite: boolean;
  /** A top-level navigation by GET or HEAD. */
  safeNavigation: boolean;
}

function defaultPath(pathname: string): string {
  const end = pathname.lastIndexOf('/');
  return end <= 0 ? '/' : pathname.slice(0, end);
}

function pathMatches(pathname: string, path: string): boolean {
  return pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`);
}

function expiry(attributes: Map<string, string>): number {
  const maxAge = attributes.get('max-age');
  if (maxAge !== undefined) return Number(maxAge) > 0 ? Date.now() + Number(maxAge) * 1000 : 0;
  const expires = Date.parse(attributes.get('expires') ?? '');
  return Number.isNaN(expires) ? Number.POSITIVE_INFINITY : expires;
}

/**
 * Cookies by host and port, as browsers do it (RFC 6265bis), but with the port: every app of a test is a site of its
 * own. `Secure` is ignored, because everything here is loopback.
 */
export class CookieJar {
  readonly #cookies = new Map<string, Cookie>();

  /** Takes over the `Set-Cookie` lines of an answer. */
  store(url: URL, lines: readonly string[] = []): void {
    for (const line of lines) {
      const [pair = '', ...rest] = line.split(';');
      const attributes = new Map(
        rest.map((part) => {
          const [name = '', ...value] = part.split('=');
          return [name.trim().toLowerCase(), value.join('=').trim()];
        }),
      );
      const [name = '', ...value] = pair.split('=');
      const sameSite = attributes.get('samesite')?.toLowerCase();
      const given = attributes.get('path');
      const cookie: Cookie = {
        host: url.host,
        path: given?.startsWith('/') ? given : defaultPath(url.pathname),
        name: name.trim(),
        value: value.join('=').trim(),
        expiresAt: expiry(attributes),
        secure: attributes.has('secure'),
        httpOnly: attributes.has('httponly'),
        sameSite: sameSite === 'strict' || sameSite === 'none' ? sameSite : 'lax',
      };
      // Browsers refuse SameSite=None without Secure.
      if (cookie.sameSite === 'none' && !cookie.secure) continue;
      const key = `${cookie.host} ${cookie.path} ${cookie.name}`;
      if (cookie.expiresAt <= Date.now()) this.#cookies.delete(key);
      else this.#cookies.set(key, cookie);
    }
  }

  /** The `Cookie` header for a request, or `undefined`. */
  header(url: URL, { crossSite, safeNavigation }: CookieContext): string | undefined {
    const sent = this.list(url.host)
      .filter(({ path }) => pathMatches(url.pathname, path))
      .filter(({ sameSite }) => !crossSite || sameSite === 'none' || (sameSite === 'lax' && safeNavigation))
      .sort((a, b) => b.path.length - a.path.length);
    return sent.length > 0 ? sent.map(({ name, value }) => `${name}=${value}`).join('; ') : undefined;
  }

  /** The living cookies, of one `host:port` or of all. */
  list(host?: string): Readonly<Cookie>[] {
    return [...this.#cookies.values()].filter(
      (cookie) => cookie.expiresAt > Date.now() && (host === undefined || cookie.host === host),
    );
  }

  /** A cookie's value. */
  get(url: string | URL, name: string): string | undefined {
    return this.list(new URL(url).host).find((cookie) => cookie.name === name)?.value;
  }

  /** Puts a cookie there by hand, e.g. a manipulated one; an empty value deletes it. */
  set(url: string | URL, name: string, value: string): void {
    this.store(new URL(url), [`${name}=${value}; Path=/${value ? '' : '; Max-Age=0'}`]);
  }

  /** Forgets everything, or everything of one site. */
  clear(url?: string | URL): void {
    const host = url === undefined ? undefined : new URL(url).host;
    for (const [key, cookie] of this.#cookies)
      if (host === undefined || cookie.host === host) this.#cookies.delete(key);
  }

  clone(): CookieJar {
    const copy = new CookieJar();
    for (const [key, cookie] of this.#cookies) copy.#cookies.set(key, { ...cookie });
    return copy;
  }
}
