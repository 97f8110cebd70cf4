import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { deviceOptions } from '../sidecar/cli/options.ts';
import { Engine } from '../sidecar/engine/engine.ts';
import { openPicture, type Picture } from '../sidecar/engine/picture.ts';
import { modelFolders } from '../sidecar/engine/roots.ts';
import { native } from '../sidecar/native.ts';
import { openFeatures } from './features/index.ts';
import { frechetDistance } from './frechet.ts';
import { type Agreement, agreement, judge, picturesIn } from './judged.ts';
import { fillPage, markdownTable } from './page.ts';
import { type Circumstances, circumstances, textTable, whole, writeReport } from './report.ts';
import { median } from './statistics.ts';

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

interface Row extends Partial<Agreement> {
  model: string;
  sampler: string;
  steps: number;
  /** Of one picture: median over all, text encoding to pixels. */
  seconds: number;
  /** The same in CPU time, of all threads. */
  cpuSeconds: number;
  frechet: number;
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
  const { device = 'cpu', threads } = options;
  const folders = await modelFolders([options.model, options.distilled]);
  const names = { base: await nameOf(options.model), student: await nameOf(options.distilled) };
  const engine = await Engine.open({ folders, device, threads });
  const judging = await native().open({ device, threads });
  const network = await openFeatures(judging, options.features, await folders.find(names.base));
  const prompts = await readPrompts(options.prompts);
  const count = options.count ?? prompts.length;
  const texts = network.read && (await Promise.all(prompts.map(network.read)));
  const own = Array.from({ length: count }, (_, i) => i % prompts.length);

  const draw = async (asked: Asked, firstSeed: number) => {
    const pictures: Picture[] = [];
    const times: number[] = [];
    const cpu: number[] = [];
    await engine.generate({ ...asked, prompt: prompts[0], seeds: [0] });
    for (const [i, place] of own.entries()) {
      const [before, began] = [process.cpuUsage(), performance.now()];
      const { images } = await engine.generate({ ...asked, prompt: prompts[place], seeds: [firstSeed + i] });
      times.push((performance.now() - began) / 1000);
      const { user, system } = process.cpuUsage(before);
      cpu.push((user + system) / 1e6);
      pictures.push(await openPicture(images[0]!.file, 'image'));
      if (options.keep)
        await keep(join(options.keep, `${asked.model} ${asked.steps ?? 'reference'}`), i, images[0]!.file);
    }
    return { pictures, seconds: median(times), cpuSeconds: median(cpu) };
  };

  const real = options.reference
    ? (await picturesIn(options.reference)).map(({ picture }) => picture)
    : (await draw({ model: names.base }, 1_000_000)).pictures;
  const reference = await judge(network, real);

  const rows: Row[] = [];
  const asked: Asked[] = [
    ...options.steps.map((steps) => ({ model: names.base, sampler: 'dpmpp-2m', steps })),
    ...options.distilledSteps.map((steps) => ({ model: names.student, sampler: '', steps })),
  ];
  for (const each of asked) {
    const { pictures, ...times } = await draw(each, 0);
    const judged = await judge(network, pictures);
    const row: Row = {
      ...{ model: each.model, sampler: each.sampler || 'its own', steps: each.steps!, ...times },
      frechet: frechetDistance(judged.gaussian, reference.gaussian),
      ...(texts && agreement(judged.embeddings, texts, own)),
    };
    rows.push(row);
    console.error(`${row.model}, ${row.steps} steps: ${row.frechet.toFixed(3)}`);
  }
  const report: Report = {
    ...when,
    device: engine.info().devices[0]!.name,
    network: network.name,
    reference: `${real.length} pictures${options.reference ? '' : ', the base by its own defaults'}`,
    pictures: count,
    rows,
  };
  console.error(`\n${textTable(HEAD, cells(rows))}`);
  writeReport(report, options.json);
  if (options.page) fillPage(options.page, 'quality', pageText(report));
  await network.dispose();
  await judging.dispose();
  await engine.dispose();
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

/** What a path's model is called. */
async function nameOf(path: string): Promise<string> {
  const [folder] = await (await modelFolders([path])).list();
  return /[\\/]/.test(path) ? folder!.name : path;
}

async function readPrompts(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8');
  const prompts: unknown = file.endsWith('.json') ? JSON.parse(text) : text.split('\n');
  const lines = (prompts as string[]).map((line) => line.trim()).filter(Boolean);
  if (lines.length === 0) throw new Error(`Expected prompts in ${file} but found none`);
  return lines;
}

async function keep(dir: string, i: number, png: Buffer): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, `${String(i).padStart(5, '0')}.png`), png);
}
