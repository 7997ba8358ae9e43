import { expect, test } from '@jest/globals';
import { renderPage } from '../../src/express/pages.ts';

const NASTY = '</title></style></p><script>alert(1)</script>"\' onerror=x &lt;';
const ESCAPED =
  '&lt;/title&gt;&lt;/style&gt;&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onerror=x &amp;lt;';

test.each([
  ['a link', {}],
  ['a link out of a frame', { target: '_top' as const }],
  ['a button', { method: 'post' as const }],
])('whatever a page says is text: %s', (_name, action) => {
  const page = renderPage({
    status: 400,
    title: NASTY,
    text: NASTY,
    action: { href: `/${NASTY}`, label: NASTY, ...action },
  });
  // The title stands in the head and in the heading.
  expect(page.split(ESCAPED)).toHaveLength(6);
  expect(page).not.toContain('<script');
  expect(page).toMatch(/(href|action)="\/&lt;[^"]*&quot;&#39;[^"]*"/);
});
