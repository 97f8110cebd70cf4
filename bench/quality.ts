import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { deviceOptions } from '../sidecar/cli/options.ts';
import { judge, picturesIn } from './judged.ts';
import { fillPage, markdownTable } from './page.ts';
import { type Circumstances, circumstances, textTable, whole, writeReport } from './report.ts';
import { type Drawn, Studio, type Verdict } from './studio.ts';

interface Options {
  device?: string;
  threads?: number;
  model: string;
  distilled: string;
  prompts: string;
  features: string;
  reference?: string;
  count?: number;
  steps: number[];
  distilledSteps: number[];
  keep?: string;
  json?: string;
  page?: string;
}

interface Row extends Verdict, Omit<Drawn, 'pictures'> {
  model: string;
  sampler: string;
  steps: number;
}

/** arXiv:2311.17042, table 1: 512², COCO, one A100. */
const PAPER = [
  ['Stable Diffusion 2.1, DPM-Solver', '25', '0.88', '20.1', '0.318'],
  ['Stable Diffusion 2.1, DPM-Solver', '8', '0.34', '31.7', '0.320'],
  ['ADD-M', '1', '0.09', '19.7', '0.326'],
];

const steps = (text: string) => text.split(',').map(whole);

/** `npm run bench -- quality`: steps against time, Fréchet distance and score, of a base and its student. */
export function qualityCommand(): Command {
  const command = new Command('quality')
    .description(
      'step count against time, Fréchet distance and text score: a base by DPM-Solver++, and its student',
    )
    .requiredOption('--model <path|name>', 'the base')
    .requiredOption('--distilled <path|name>', 'the student')
    .requiredOption('--prompts <file>', 'one prompt a line, or a JSON list')
    .requiredOption('--features <dir>', 'the network that judges: config.json and model.safetensors')
    .option('--reference <dir>', "real pictures (default: the base's own, by its defaults, of other seeds)")
    .option('--count <n>', 'pictures of each row (default: one for each prompt)', whole)
    .option('--steps <list>', 'of the base', steps, [4, 8, 25, 50])
    .option('--distilled-steps <list>', 'of the student', steps, [1, 2, 4])
    .option('--keep <dir>', 'write the pictures there')
    .option('--json <file>', 'write the result there, and not to standard output')
    .option('--page <file.md>', 'put the table between its marks <!-- quality -->');
  return deviceOptions(command).action(run);
}

async function run(options: Options): Promise<void> {
  const when = circumstances();
  const studio = await Studio.open({ ...options, models: [options.model, options.distilled] });
  const [base, student] = studio.names as [string, string];
  const list = await readPrompts(options.prompts);
  const prompts = Array.from({ length: options.count ?? list.length }, (_, i) => list[i % list.length]!);
  const draw = (asked: Asked, firstSeed: number) =>
    studio.draw(
      prompts.map((prompt, i) => ({ ...asked, prompt, seeds: [firstSeed + i] })),
      options.keep && join(options.keep, `${asked.model} ${asked.steps ?? 'reference'}`),
    );

  const real = options.reference
    ? (await picturesIn(options.reference)).map(({ picture }) => picture)
    : (await draw({ model: base }, 1_000_000)).pictures;
  const { gaussian } = await judge(studio.network, real);

  const rows: Row[] = [];
  const asked: Required<Asked>[] = [
    ...options.steps.map((steps) => ({ model: base, sampler: 'dpmpp-2m', steps })),
    ...options.distilledSteps.map((steps) => ({ model: student, sampler: '', steps })),
  ];
  for (const each of asked) {
    const { pictures, seconds, cpuSeconds } = await draw(each, 0);
    const verdict = await studio.judge(pictures, gaussian, prompts);
    rows.push({ ...each, sampler: each.sampler || 'its own', seconds, cpuSeconds, ...verdict });
    console.error(`${each.model}, ${each.steps} steps: ${verdict.frechet.toFixed(3)}`);
  }
  const report: Report = {
    ...when,
    device: studio.deviceName,
    network: studio.network.name,
    reference: `${real.length} ${options.reference ? 'real pictures' : 'pictures of the base by its own defaults'}`,
    pictures: prompts.length,
    rows,
  };
  console.error(`\n${textTable(HEAD, cells(rows))}`);
  writeReport(report, options.json);
  if (options.page) fillPage(options.page, 'quality', pageText(report));
  await studio.dispose();
}

interface Asked {
  model: string;
  sampler?: string;
  steps?: number;
}

interface Report extends Circumstances {
  device: string;
  network: string;
  reference: string;
  pictures: number;
  rows: Row[];
}

const HEAD = ['model', 'sampler', 'steps', 's', 'CPU s', 'Fréchet', 'score', 'retrieval'];

function cells(rows: Row[]): string[][] {
  const fixed = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? '–';
  return rows.map((row) => [
    ...[row.model, row.sampler, String(row.steps)],
    ...[fixed(row.seconds, 3), fixed(row.cpuSeconds, 3), fixed(row.frechet, 3)],
    ...[fixed(row.score, 3), fixed(row.retrieval, 2)],
  ]);
}

function pageText(report: Report): string {
  const { network, reference, pictures, machine, date, commit, command, loadBefore } = report;
  return [
    `${pictures} pictures a row, judged by the ${network}; distance to ${reference}.`,
    '',
    markdownTable(HEAD, cells(report.rows)),
    '',
    'The paper (arXiv:2311.17042, table 1; 512×512 on an A100, FID and CLIP score on COCO):',
    '',
    markdownTable(['model', 'steps', 's', 'FID', 'CLIP score'], PAPER),
    '',
    `${machine}, load ${loadBefore.toFixed(1)} before; ${date.slice(0, 10)}, commit ${commit}.`,
    '',
    ['```sh', command, '```'].join('\n'),
  ].join('\n');
}

/** One a line, or a list in JSON. */
async function readPrompts(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8');
  const prompts: unknown = file.endsWith('.json') ? JSON.parse(text) : text.split('\n');
  const lines = (prompts as string[]).map((line) => line.trim()).filter(Boolean);
  if (lines.length === 0) throw new Error(`Expected prompts in ${file} but found none`);
  return lines;
}
