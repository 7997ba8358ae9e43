import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../support/packed-package.ts';

const FENCE = /^```(\w*)\n([\s\S]*?)^```$/gm;

/** A file of the repository. `name` is relative to its root, with slashes. */
export interface TextFile {
  readonly name: string;
  readonly text: string;
}

/** Every file with this ending, but for what was installed or built. */
export function filesOf(folder: string, ending: string): TextFile[] {
  const generated = /(^|[\\/])(node_modules|dist|coverage|\.git)([\\/]|$)/;
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending) && !generated.test(name))
    .map((name) => join(folder, name).replaceAll('\\', '/'))
    .map((name) => ({ name, text: readText(name) }));
}

export function readText(name: string): string {
  return readFileSync(join(root, name), 'utf8');
}

/** The contents of fenced blocks in a language. */
export function codeBlocks(markdown: string, language: string): string[] {
  return [...markdown.matchAll(FENCE)]
    .filter((match) => match[1] === language)
    .map((match) => match[2] ?? '');
}

/** The text without fenced blocks. */
export function withoutCodeBlocks(markdown: string): string {
  return markdown.replace(FENCE, '');
}

/** What is written under each heading of a level, up to the next one of that level or above. */
export function sections(markdown: string, level: number): Map<string, string> {
  const found = new Map<string, string>();
  let title: string | undefined;
  for (const line of markdown.split('\n')) {
    const [, hashes = '', text = ''] = /^(#+) (.+)$/.exec(line) ?? [];
    if (hashes.length > 0 && hashes.length <= level) title = hashes.length === level ? text : undefined;
    else if (title !== undefined) found.set(title, `${found.get(title) ?? ''}${line}\n`);
  }
  return found;
}

/** The anchors that a Markdown file gives its headings: lower case, blanks as hyphens, no other punctuation. */
export function anchorsOf(markdown: string): string[] {
  return [...withoutCodeBlocks(markdown).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-'),
  );
}
