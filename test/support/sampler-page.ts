import { samplers, schedules } from '../../sidecar/samplers/table.ts';
import { code, type Part, table } from './page.ts';

/** The parts of docs/samplers.md that are made of the table in sidecar/samplers/table.ts. */
export function samplerPageParts(): Part[] {
  return [
    { name: 'samplers', markdown: samplerTable() },
    { name: 'schedules', markdown: scheduleTable() },
  ];
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
        [row.label, ...row.aliases].join(', '),
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
    Object.entries(schedules).map(([name, { label, aliases, spread }]) => [
      ...[code(name), [label, ...aliases].join(', '), spread],
    ]),
  );
}
