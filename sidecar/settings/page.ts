import { flagNames, type Setting, table } from './table.ts';

/** The table of docs/settings.md: a line for each setting of the sidecar. */
export function settingsTable(): string {
  const head = ['| Key | Variable | Flag | Default | |', '|---|---|---|---|---|'];
  const rows = Object.entries(table).map(([key, row]) => {
    const setting = row as Setting<unknown>;
    const flag = flagNames(setting)?.option;
    const cells = [
      `\`${key}\``,
      `\`${setting.env}\``,
      flag ? `\`${flag}\`` : '',
      defaultOf(setting),
      `${setting.what} (${setting.kind.expected})`,
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return [...head, ...rows].join('\n');
}

function defaultOf({ fallback, otherwise }: Setting<unknown>): string {
  return otherwise ?? (fallback === undefined ? 'none' : String(fallback));
}

/** The page with its table brought up to date. */
export function updated(page: string): string {
  const [before, after] = ['<!-- settings of the sidecar -->\n', '\n<!-- end -->'];
  const [from, to] = [page.indexOf(before), page.indexOf(after)];
  if (from < 0 || to < from) throw new Error(`Expected ${before.trim()} and ${after.trim()} in the page`);
  return page.slice(0, from + before.length) + settingsTable() + page.slice(to);
}
