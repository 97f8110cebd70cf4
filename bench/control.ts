import { join, parse } from 'node:path';
import { Command } from 'commander';
import { deviceOptions } from '../sidecar/cli/options.ts';
import type { Picture } from '../sidecar/engine/picture.ts';
import { choosePreprocessor, hintOf } from '../sidecar/preprocessors/index.ts';
import { judge, picturesIn } from './judged.ts';
import { fillPage, markdownTable } from './page.ts';
import { type Circumstances, circumstances, textTable, whole, writeReport } from './report.ts';
import { type Drawn, Studio, type Verdict } from './studio.ts';

interface Options {
  device?: string;
  threads?: number;
  model: string;
  control: string;
  lite?: string;
  pictures: string;
  features: string;
  count?: number;
  steps?: number;
  low?: number;
  high?: number;
  keep?: string;
  json?: string;
  page?: string;
}

interface Row extends Verdict, Omit<Drawn, 'pictures'> {
  control: string;
  /** How well the edges of the picture are those of the hint, 0…1. */
  edges: number;
}

/** arXiv:2302.05543, table 3: conditioned on segmentation of ADE20K, 512². */
const PAPER = [
  ['Stable Diffusion, without control', '6.09', '0.26'],
  ['ControlNet-lite', '17.92', '0.26'],
  ['ControlNet', '15.27', '0.26'],
];

/** `npm run bench -- control`: without control, with a ControlNet without zero convolutions, with a ControlNet. */
export function controlCommand(): Command {
  const command = new Command('control')
    .description(
      'without control, with ControlNet-lite, with ControlNet: Fréchet distance, text score, edges kept',
    )
    .requiredOption('--model <path|name>', 'the base')
    .requiredOption('--control <dir>', 'a ControlNet for Canny edges')
    .option('--lite <dir>', 'one without zero convolutions')
    .requiredOption(
      '--pictures <dir>',
      'real pictures, each named by its prompt (red-apple.png): hints and reference',
    )
    .requiredOption('--features <dir>', 'the network that judges: config.json and model.safetensors')
    .option('--count <n>', 'pictures of each row (default: one for each real one)', whole)
    .option('--steps <n>', "denoising steps (default: the model's)", whole)
    .option('--low <n>', "Canny's low threshold (default: 100)", whole)
    .option('--high <n>', "Canny's high threshold (default: 200)", whole)
    .option('--keep <dir>', 'write the pictures there')
    .option('--json <file>', 'write the result there, and not to standard output')
    .option('--page <file.md>', 'put the table between its marks <!-- control -->');
  return deviceOptions(command).action(run);
}

async function run(options: Options): Promise<void> {
  const when = circumstances();
  const kinds: [name: string, model: string | undefined][] = [['none', undefined]];
  if (options.lite) kinds.push(['ControlNet-lite', options.lite]);
  kinds.push(['ControlNet', options.control]);
  const controlFiles = new Map(kinds.flatMap(([, dir]) => (dir ? [[dir, dir] as const] : [])));
  const studio = await Studio.open({ ...options, models: [options.model], controlFiles });
  const [model] = studio.names;
  const real = (await picturesIn(options.pictures)).slice(0, options.count);
  const prompts = real.map(({ name }) => parse(name).name.replace(/[-_]+/g, ' '));
  const { gaussian } = await judge(
    studio.network,
    real.map(({ picture }) => picture),
  );
  const thresholds = {
    ...(options.low && { low_threshold: options.low }),
    ...(options.high && { high_threshold: options.high }),
  };

  const rows: Row[] = [];
  for (const [control, dir] of kinds) {
    const { pictures, seconds, cpuSeconds } = await studio.draw(
      real.map(({ file }, i) => ({
        ...{ model, prompt: prompts[i], seeds: [i], steps: options.steps },
        control: dir
          ? [{ model: dir, image: file, preprocessor: 'canny', preprocessorOptions: thresholds }]
          : [],
      })),
      options.keep && join(options.keep, control),
    );
    const verdict = await studio.judge(pictures, gaussian, prompts);
    const edges = await Promise.all(pictures.map((made, i) => edgesKept(made, real[i]!.picture, thresholds)));
    const mean = edges.reduce((a, b) => a + b, 0) / edges.length;
    rows.push({ control, seconds, cpuSeconds, edges: mean, ...verdict });
    console.error(`${control}: ${verdict.frechet.toFixed(3)}, edges ${mean.toFixed(2)}`);
  }
  const network = studio.network.name;
  const report: Report = {
    ...when,
    device: studio.deviceName,
    network,
    model: model!,
    pictures: real.length,
    rows,
  };
  console.error(`\n${textTable(HEAD, cells(rows))}`);
  writeReport(report, options.json);
  if (options.page) fillPage(options.page, 'control', pageText(report));
  await studio.dispose();
}

/** The F1 score of a picture's Canny edges against those of another of that size, where one pixel beside counts. */
async function edgesKept(
  made: Picture,
  wanted: Picture,
  thresholds: Record<string, number>,
): Promise<number> {
  const { width, height } = made;
  const canny = choosePreprocessor('canny', thresholds);
  const edges = async (picture: Picture) => {
    const image = { data: await picture.rgb(picture), width: picture.width, height: picture.height };
    const { data } = hintOf(canny, image, { width, height }, 'crop');
    return Uint8Array.from({ length: width * height }, (_, i) => (data[3 * i]! > 0 ? 1 : 0));
  };
  const [a, b] = await Promise.all([edges(made), edges(wanted)]);
  const isNear = (map: Uint8Array, i: number) => {
    const [x, y] = [i % width, Math.floor(i / width)];
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++)
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++)
        if (map[v * width + u]) return true;
    return false;
  };
  const share = (of: Uint8Array, on: Uint8Array) => {
    const places = [...of.keys()].filter((i) => of[i]);
    return places.length === 0 ? 0 : places.filter((i) => isNear(on, i)).length / places.length;
  };
  const [precision, recall] = [share(a, b), share(b, a)];
  return precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

interface Report extends Circumstances {
  device: string;
  network: string;
  model: string;
  pictures: number;
  rows: Row[];
}

const HEAD = ['control', 's', 'CPU s', 'Fréchet', 'score', 'retrieval', 'edges'];

function cells(rows: Row[]): string[][] {
  const fixed = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? '–';
  return rows.map((row) => [
    ...[row.control, fixed(row.seconds, 3), fixed(row.cpuSeconds, 3), fixed(row.frechet, 3)],
    ...[fixed(row.score, 3), fixed(row.retrieval, 2), fixed(row.edges, 2)],
  ]);
}

function pageText(report: Report): string {
  const { model, network, pictures, machine, date, commit, command, loadBefore } = report;
  return [
    `${model}, ${pictures} pictures a row, judged by the ${network}; distance to the pictures that the hints are of.`,
    '',
    markdownTable(HEAD, cells(report.rows)),
    '',
    'The paper (arXiv:2302.05543, table 3; segmentation of ADE20K at 512×512):',
    '',
    markdownTable(['', 'FID', 'CLIP score'], PAPER),
    '',
    `${machine}, load ${loadBefore.toFixed(1)} before; ${date.slice(0, 10)}, commit ${commit}.`,
    '',
    ['```sh', command, '```'].join('\n'),
  ].join('\n');
}
