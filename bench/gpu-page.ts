import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gpuPipelines } from './gpu-cases.ts';
import { type GpuCase, pipelineRuns } from './gpu-measure.ts';
import { type GpuReport, hasTorch, readReport } from './gpu-report.ts';
import { markdownTable } from './page.ts';
import { ROOT } from './root.ts';

const PAGE = join(ROOT, 'docs/gpu.md');
const PLOT = join(ROOT, 'docs/images/gpu.svg');

const BARS: [
  key: 'ours_ms' | 'vendor_ms' | 'torch_eager_ms' | 'torch_compile_ms',
  name: string,
  color: string,
][] = [
  ['ours_ms', 'latent-edge', '#1f77b4'],
  ['vendor_ms', 'with cuBLASLt and cuDNN', '#9ecae1'],
  ['torch_eager_ms', 'torch eager', '#bdbdbd'],
  ['torch_compile_ms', 'torch.compile', '#737373'],
];

/** The page, and its plot where there are figures. */
export function writeGpuPage(result: string): void {
  const report = existsSync(result) ? readReport(result) : undefined;
  writeFileSync(PAGE, gpuPage(report));
  if (report) writeFileSync(PLOT, gpuPlot(report.cases));
  else rmSync(PLOT, { force: true });
}

/** docs/gpu.md. */
export function gpuPage(report: GpuReport | undefined): string {
  const head = [
    '# Speed on a GPU',
    '',
    '<!-- Written by npm run bench -- gpu-page out of bench/results/gpu.json. -->',
    '',
  ];
  const settle = report?.settle ? ` that take ${report.settle} ms at least` : '';
  const { runs, before } = report?.pipelines ?? pipelineRuns({ runs: 20 });
  const how = [
    '## How it is measured',
    '```sh',
    'npm run bench:gpu -- --python ./venv/bin/python   # a Python with torch; writes bench/results/gpu.json',
    'npm run bench -- gpu-page                         # this page',
    '```',
    'Modules of full size with random weights, float16. An empty cell was not measured, or has no meaning there.',
    `- Ours: the median of ${report?.runs ?? 20} runs after three${settle}, from the call to its result in JavaScript, with the copies to and from the device. Pipelines: of ${runs} after ${before}${settle}, without text encoding and PNG.`,
    '- A ControlNet by itself is a plan whose outputs are its residuals, kept on the device but for the first, which goes to JavaScript; in a pipeline it is within one plan with the U-Net: the two do not compare.',
    '- With cuBLASLt and cuDNN: wherever they can (`--providers vendor`). Pipelines: modules added up, where no ControlNet is among them.',
    '- Torch: the same module in `bench/torch_modules.py`, channels_last, its own attention, the median by the device’s clock. Pipelines: modules added up.',
    '- T0: what the floating-point operations alone take at 790 TFLOP/s. Error: relative L2 distance from the same module in float32.',
  ];
  if (!report)
    return [...head, 'There are no figures yet: it has not run on a GPU.', '', ...how, ''].join('\n');
  const { device, driver, commit, date, command, dtype, cases, batches = {}, note } = report;
  const cell = (ms: number | null) => (ms === null ? '' : ms.toFixed(2));
  const rows = Object.entries(cases).map(([name, c]) => [
    name,
    ...BARS.map(([key]) => cell(c[key])),
    cell(c.t0_ms),
    (c.t0_ms / c.ours_ms).toFixed(2),
    c.relative_error?.toExponential(1) ?? '',
  ]);
  return [
    ...head,
    `${device}, driver ${driver}, ${dtype}, commit ${commit}, ${date.slice(0, 10)}: \`${command}\`${torchIn(report)}`,
    ...(note ? ['', `${note}.`] : []),
    '',
    '![Milliseconds of each case beside torch](images/gpu.svg)',
    '',
    'Bars are multiples of T0, figures milliseconds.',
    '',
    markdownTable(['ms', ...BARS.map(([, name]) => name), 'T0', 'T0 / ours', 'error'], rows),
    '',
    ...judgement(cases),
    '',
    ...moreThanModules(cases),
    ...batching(batches),
    ...how,
    '',
  ].join('\n');
}

/** What torch's columns are of, where there are any. */
function torchIn({ torch, cases }: GpuReport): string {
  if (!torch || !hasTorch(cases)) return '';
  const mode = hasTorch(cases, ['torch_compile_ms']) ? `, torch.compile in mode ${torch.compile}` : '';
  const where = torch.of ? `, at commit ${torch.of.commit} with driver ${torch.of.driver}` : '';
  return `; torch ${torch.version}${mode}${where}`;
}

/** What was aimed at on a Hopper GPU, ms. */
const GOALS: Record<string, number> = {
  'sd15-unet-b2': 3.6,
  'sdxl-unet-b2': 23,
  'vae-decode-512': 4.4,
  'vae-decode-1024': 18,
  'sd15-20step': 80,
  'sdxl-30step': 715,
  'sdxl-turbo-1step': 10,
  'sd-turbo-1step': 8,
  'controlnet-sd15-20step': 107,
};

/** Which goals are met, which are not, and which nothing is known of. */
function judgement(cases: GpuReport['cases']): string[] {
  const line = (title: string, isIn: (ms: number | undefined, goal: number) => boolean) => {
    const list = Object.entries(GOALS).filter(([name, goal]) => isIn(cases[name]?.ours_ms, goal));
    const each = list.map(([name, goal]) => {
      const ms = cases[name]?.ours_ms;
      return `${name} ${goal} ms${ms === undefined ? '' : ` (${ms.toFixed(2)})`}`;
    });
    return each.length > 0 ? [`- ${title}: ${each.join(', ')}.`] : [];
  };
  return [
    'Of the goals, set for an H200:',
    ...line('Met', (ms, goal) => ms !== undefined && ms <= goal),
    ...line('Missed', (ms, goal) => ms !== undefined && ms > goal),
    ...line('Not measured', (ms) => ms === undefined),
  ];
}

/** Pipelines that took more than a tenth longer than their modules by themselves. */
function moreThanModules(cases: GpuReport['cases']): string[] {
  const slow = Object.entries(gpuPipelines).flatMap(([name, list]) => {
    const ms = cases[name]?.ours_ms ?? 0;
    const sum = list.reduce((all, [module, times]) => all + times * (cases[module]?.ours_ms ?? Infinity), 0);
    return ms > 1.1 * sum ? [`${name} ${ms.toFixed(2)} ms (${sum.toFixed(2)})`] : [];
  });
  return slow.length > 0
    ? [`Longer than the modules by themselves, added up in brackets: ${slow.join(', ')}.`, '']
    : [];
}

/** What rows of several requests gain by being evaluated together. */
function batching(batches: GpuReport['batches']): string[] {
  const all = Object.entries(batches);
  if (all.length === 0) return [];
  const sizes = [...new Set(all.flatMap(([, ms]) => Object.keys(ms).map(Number)))];
  const rows = all.map(([name, ms]) => [
    name,
    ...sizes.map((size) => {
      const one = ms[1],
        whole = ms[size];
      if (!one || !whole) return '';
      return `${whole.toFixed(2)} (${((size * one) / whole).toFixed(2)}×)`;
    }),
  ]);
  return [
    '## Rows together',
    'One evaluation of so many rows, of one request or of several ([batching](batching.md)), in ms; in brackets how many times as fast as one row after the other.',
    '',
    markdownTable(['ms', ...sizes.map((size) => `${size} row${size === 1 ? '' : 's'}`)], rows),
    '',
  ];
}

/** Bars of each case as multiples of T0, which is 1. */
export function gpuPlot(cases: Record<string, GpuCase>): string {
  const [left, width, bar, gap] = [190, 620, 11, 14];
  const ratios = Object.values(cases).flatMap((c) => BARS.map(([key]) => (c[key] ?? 0) / c.t0_ms));
  const most = Math.max(1, ...ratios);
  const x = (ratio: number) => left + (width * ratio) / most;
  const parts: string[] = [];
  let y = 40;
  for (const [name, c] of Object.entries(cases)) {
    const bars = BARS.filter(([key]) => c[key] !== null);
    parts.push(
      `<text x="${left - 8}" y="${y + (bars.length * bar) / 2 + 4}" text-anchor="end">${name}</text>`,
    );
    for (const [key, , color] of bars) {
      const ratio = c[key]! / c.t0_ms;
      parts.push(
        `<rect x="${left}" y="${y}" width="${(x(ratio) - left).toFixed(1)}" height="${bar - 1}" fill="${color}"/>`,
        `<text x="${(x(ratio) + 4).toFixed(1)}" y="${y + bar - 2}" font-size="9">${c[key]!.toFixed(2)} ms</text>`,
      );
      y += bar;
    }
    y += gap;
  }
  const legend = BARS.map(
    ([, name, color], i) =>
      `<rect x="${left + i * 165}" y="12" width="10" height="10" fill="${color}"/><text x="${left + 14 + i * 165}" y="21">${name}</text>`,
  );
  const floor = `<line x1="${x(1).toFixed(1)}" x2="${x(1).toFixed(1)}" y1="32" y2="${y}" stroke="#d62728" stroke-dasharray="4 3"/><text x="${x(1).toFixed(1)}" y="${y + 12}" text-anchor="middle" fill="#d62728">T0</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 90}" height="${y + 20}" font-family="sans-serif" font-size="11"><title>Milliseconds of each case beside torch</title><rect width="100%" height="100%" fill="white"/>${[...legend, ...parts, floor].join('')}</svg>\n`;
}
