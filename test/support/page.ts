/** A part of a page of the documentation that is made of a table in the code. */
export interface Part {
  /** Between `<!-- NAME -->` and `<!-- /NAME -->`. */
  name: string;
  markdown: string;
}

/** The page with its parts renewed. */
export function renewed(page: string, parts: Part[]): string {
  return parts.reduce((text, { name, markdown }) => {
    const place = new RegExp(`(<!-- ${name} -->\n)[^]*(<!-- /${name} -->)`);
    if (!place.test(text)) throw new Error(`Expected <!-- ${name} --> and <!-- /${name} --> in the page`);
    return text.replace(place, (_, open: string, close: string) => `${open}${markdown}${close}`);
  }, page);
}

export const code = (text: string) => `\`${text}\``;

export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('');
}
