import { samplers, schedules } from '../../sidecar/samplers/table.ts';

/** A part of docs/samplers.md that is made of the table in sidecar/samplers/table.ts. */
export interface Part {
  /** Between `<!-- NAME -->` and `<!-- /NAME -->`. */
  name: string;
  markdown: string;
}

/** Every part, as it should stand in the page. */
export function samplerPageParts(): Part[] {
  return [
    { name: 'samplers', markdown: samplerTable() },
    { name: 'schedules', markdown: scheduleTable() },
  ];
}

/** The page with its parts renewed. */
export function renewed(page: string): string {
  return samplerPageParts().reduce((text, { name, markdown }) => {
    const place = new RegExp(`(<!-- ${name} -->\n)[^]*(<!-- /${name} -->)`);
    if (!place.test(text)) throw new Error(`Expected <!-- ${name} --> and <!-- /${name} --> in the page`);
    return text.replace(place, (_, open: string, close: string) => `${open}${markdown}${close}`);
  }, page);
}

function samplerTable(): string {
  const noise = { true: 'yes', false: 'no', eta: 'with `eta`' };
  return table(
    [
      'Name',
      'Also',
      'Class in diffusers, and what the name fixes',
      'Schedules',
      'Draws noise',
      'Evaluations',
    ],
    samplers.map((row) => {
      const fixed = Object.entries(row.fixed ?? {}).filter(([, value]) => value !== 'deis');
      return [
        code(row.name),
        row.aliases.join(', '),
        [row.className, ...fixed.map(([key, value]) => code(`${key} ${value}`))].join(', '),
        row.takesSchedule ? 'all' : 'default',
        noise[`${row.drawsNoise}`],
        row.evaluations,
      ];
    }),
  );
}

function scheduleTable(): string {
  return table(
    ['Name', 'Also', 'Where the noise levels lie'],
    Object.entries(schedules).map(([name, { aliases, spread }]) => [code(name), aliases.join(', '), spread]),
  );
}

const code = (text: string) => `\`${text}\``;

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('');
}
