/** A form in a page, as far as tests need to read it. */
export interface HtmlForm {
  method: string;
  action: URL;
  fields: [name: string, value: string][];
  /** The page's script submits it: form_post, logout pages, replayed POSTs. */
  submitsItself: boolean;
  /** It belongs to the test provider's own `ask` pages. */
  interaction: boolean;
}

const ENTITIES: Record<string, string> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  '#39': "'",
  '#x27': "'",
  '#x2F': '/',
};

function unescaped(text: string): string {
  return text.replace(/&([#\w]+);/g, (whole, name: string) => ENTITIES[name] ?? whole);
}

function attributes(tag: string): Map<string, string> {
  const found = tag.matchAll(/([\w-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g);
  return new Map(
    [...found].map(([, name = '', a, b, c]) => [name.toLowerCase(), unescaped(a ?? b ?? c ?? '')]),
  );
}

/** The first form of a page; buttons are not among its fields. */
export function findForm(html: string, base: URL): HtmlForm | undefined {
  const match = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(html);
  if (!match) return undefined;
  const form = attributes(match[1] ?? '');
  const inputs = [...(match[2] ?? '').matchAll(/<(input|textarea)\b([^>]*)>(?:([^<]*)<\/textarea>)?/gi)];
  const fields = inputs.flatMap(([, tag, text = '', content]): [string, string][] => {
    const input = attributes(text);
    const name = input.get('name');
    if (!name || input.get('type') === 'submit') return [];
    return [
      [name, tag?.toLowerCase() === 'textarea' ? unescaped(content ?? '') : (input.get('value') ?? '')],
    ];
  });
  return {
    method: (form.get('method') ?? 'get').toUpperCase(),
    action: new URL(form.get('action') || base.href, base),
    fields,
    submitsItself: /\.submit\(\)/.test(html),
    interaction: form.has('data-interaction'),
  };
}
