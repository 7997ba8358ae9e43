import type { Response } from 'express';

interface Page {
  readonly status: number;
  readonly title: string;
  readonly text: string;
  /** A link or, with `method: 'post'`, a button. */
  readonly action?: {
    readonly href: string;
    readonly label: string;
    readonly method?: 'post';
    readonly target?: '_top';
  };
}

/** The few pages that the middleware shows by itself: no script, nothing of the request that is not escaped. */
export function renderPage(page: Page): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escapeHtml(page.title)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color:#222}a,button{font:inherit;color:#0b57d0}</style>
</head>
<body>
<h1>${escapeHtml(page.title)}</h1>
<p>${escapeHtml(page.text)}</p>
${page.action === undefined ? '' : renderAction(page.action)}
</body>
</html>
`;
}

function renderAction(action: NonNullable<Page['action']>): string {
  const href = escapeHtml(action.href);
  const label = escapeHtml(action.label);
  if (action.method === 'post')
    return `<form method="post" action="${href}"><button type="submit">${label}</button></form>`;
  return `<p><a href="${href}"${action.target === undefined ? '' : ` target="${action.target}"`}>${label}</a></p>`;
}

function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] as string);
}

export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'Content-Type': 'text/html; charset=utf-8',
  // No form-action: browsers hold it against the redirect from here to the provider's logout too.
  'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
};

/** A page that stands alone: nobody may show it, and its button, inside another. */
export function sendPage(res: Response, page: Page): void {
  const policy = `${PAGE_HEADERS['Content-Security-Policy']}; frame-ancestors 'none'`;
  res
    .status(page.status)
    .set({ ...PAGE_HEADERS, 'Content-Security-Policy': policy })
    .send(renderPage(page));
}

/** Browsers drop an error that they fetched ahead, and ask again when the user opens the page. */
export function refusePrefetch(res: Response, home: string): void {
  sendPage(res, {
    status: 403,
    title: 'Not fetched ahead',
    text: 'Signing in and out starts when you open this page, not before.',
    action: { href: home, label: 'Back to the app' },
  });
}

/** A redirect without a body: Express's own repeats the URL there. */
export function redirect(res: Response, status: 302 | 303, url: string): void {
  res.status(status).set({ Location: url, 'Cache-Control': 'no-store' }).end();
}
