import type { IncomingHttpHeaders } from 'node:http';

/**
 * What stands at the other end of a request.
 *
 * `navigation`: a page that can follow a redirect to the provider and come back. `frame`: the same inside a frame,
 * where providers refuse to be shown. `form`: a navigation whose body would be lost. `client`: a script, an API
 * client, a prefetch; it can only be told.
 */
export type RequestKind = 'navigation' | 'frame' | 'form' | 'client';

export function requestKind(method: string, headers: IncomingHttpHeaders): RequestKind {
  if (isPrefetch(headers)) return 'client';
  const mode = headers['sec-fetch-mode'];
  const destination = headers['sec-fetch-dest'];
  const isNavigation = mode === undefined ? namesHtml(headers.accept) : mode === 'navigate';
  if (!isNavigation) return 'client';
  if (
    destination === 'iframe' ||
    destination === 'frame' ||
    destination === 'embed' ||
    destination === 'object'
  )
    return 'frame';
  if (destination !== undefined && destination !== 'document') return 'client';
  return method === 'GET' || method === 'HEAD' ? 'navigation' : 'form';
}

/** A page that is only fetched ahead must not start a login: the user may never look at it. */
export function isPrefetch(headers: IncomingHttpHeaders): boolean {
  const purposes = [headers['sec-purpose'], headers.purpose, headers['x-purpose'], headers['x-moz']];
  return purposes.some(
    (purpose) => typeof purpose === 'string' && /prefetch|prerender|preview/i.test(purpose),
  );
}

/** `Accept` names HTML; a wildcard does not. */
function namesHtml(accept: string | undefined): boolean {
  return accept !== undefined && /(^|,)\s*(text\/html|application\/xhtml\+xml)\s*(;|,|$)/i.test(accept);
}

/**
 * Whether a GET was typed in, or made by a link or a script of the app's own pages; older browsers do not say. Images,
 * frames and the like may be what another user has put into such a page.
 */
export function isOwnVisit(headers: IncomingHttpHeaders): boolean {
  const { 'sec-fetch-site': site, 'sec-fetch-dest': destination = 'document' } = headers;
  return (
    (site === 'same-origin' || site === 'none') && (destination === 'document' || destination === 'empty')
  );
}

/** Whether another site's page sent this; of a browser that does not say so, `Origin` tells (RFC 6454 §7.3). */
export function isCrossSite(headers: IncomingHttpHeaders, ownOrigin: string): boolean {
  const { origin, 'sec-fetch-site': site } = headers;
  if (site !== undefined) return site === 'cross-site';
  // `null` is also what a page with `Referrer-Policy: no-referrer` sends to its own site.
  return origin !== undefined && origin !== 'null' && origin !== ownOrigin;
}
