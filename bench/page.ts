import { readFileSync, writeFileSync } from 'node:fs';

/** Puts text between `<!-- NAME -->` and `<!-- /NAME -->` of a page. */
export function fillPage(file: string, name: string, text: string): void {
  const page = readFileSync(file, 'utf8');
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(open), page.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`Expected ${open} and ${close} but found none, in ${file}`);
  writeFileSync(file, `${page.slice(0, from + open.length)}\n${text}\n${page.slice(to)}`);
}

/** Rows of cells as a table of Markdown. */
export function markdownTable(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
