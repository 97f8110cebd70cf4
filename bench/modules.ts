import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { weightsOption } from '../sidecar/cli/options.ts';
import { cases } from './cases.ts';
import type { CaseResult, MeasureOptions } from './measure.ts';
import { runOwn, runTorch } from './programs.ts';
import { randomCheckpoint, randomControlNet } from './random-checkpoint.ts';
import { circumstances, textTable, whole } from './report.ts';
import { ROOT } from './root.ts';
import { median } from './statistics.ts';

interface Options extends MeasureOptions {
  cases: string[];
  rounds: number;
  python?: string;
  channelsLast?: boolean;
  json?: string;
}

/** A case by one backend, its rounds put together. */
interface Summary {
  case: string;
  backend: 'latent-edge' | 'torch';
  seconds: number;
  runs: number[];
  peakRssBytes: number;
  loadSeconds: number;
  gigaflops?: number;
  finite: boolean;
}

/** `npm run bench -- [MODEL]`: the parts of a model by themselves. */
export function modulesCommand(): Command {
  return new Command('modules')
    .description('time one U-Net evaluation, one decode and one text encoding of a model folder')
    .argument(
      '[model]',
      "diffusers folder; none: random weights of Stable Diffusion 1.5's shape, written once",
    )
    .option('--cases <names>', 'which, by commas', (text) => text.split(','), ['unet', 'vae-decode', 'text'])
    .option('--device <id>', 'device', 'cpu')
    .option('--threads <n>', 'CPU threads', whole)
    .option('--size <pixels>', 'width and height', whole, 512)
    .option('--batch <n>', 'of the U-Net', whole, 2)
    .option('--runs <n>', 'timed runs of each process', whole, 3)
    .option('--rounds <n>', 'processes for each case; torch and this engine take turns', whole, 2)
    .addOption(weightsOption())
    .option('--python <path>', 'a Python with torch and diffusers: compare with torch in the same run')
    .option('--channels-last', "torch's channels_last layout")
    .option('--json <file>', 'write the result there too')
    .action(run);
}

async function run(named: string | undefined, options: Options, command: Command): Promise<void> {
  const unknown = options.cases.find((name) => !(name in cases));
  if (unknown) command.error(`Expected ${Object.keys(cases).join(', ')} for --cases but received ${unknown}`);
  const model = named ?? join(ROOT, 'bench/build/random-sd15');
  if (!named) await randomCheckpoint(model, console.error);
  if (!named && options.cases.includes('unet+control')) await randomControlNet(model, console.error);

  const when = circumstances();
  const measured = options.cases.map((name) => ({
    name,
    own: [] as CaseResult[],
    torch: [] as CaseResult[],
  }));
  // Turn by turn, so that a machine that gets slower does so for all.
  for (let round = 0; round < options.rounds; round++)
    for (const { name, own, torch } of measured) {
      own.push(runOwn(name, model, options));
      if (options.python && name !== 'unet+control')
        torch.push(runTorch(options.python, name, model, options));
    }
  const results = measured.flatMap(({ own, torch }) => [
    summary('latent-edge', own),
    ...(torch.length > 0 ? [summary('torch', torch)] : []),
  ]);

  const report = { ...when, size: options.size, cases: results, ratios: ratios(results) };
  console.error(table(results));
  console.log(JSON.stringify(report, null, 2));
  if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
}

function summary(backend: Summary['backend'], rounds: CaseResult[]): Summary {
  const runs = rounds.flatMap((round) => round.runs);
  const seconds = median(runs);
  const [first] = rounds as [CaseResult];
  const gigaflops = first.gigaflops && (first.gigaflops * first.seconds) / seconds;
  return {
    case: first.case,
    backend,
    seconds,
    runs,
    peakRssBytes: Math.max(...rounds.map((round) => round.peakRssBytes)),
    loadSeconds: median(rounds.map((round) => round.loadSeconds)),
    ...(gigaflops ? { gigaflops } : {}),
    finite: rounds.every((round) => round.finite),
  };
}

/** Seconds of this engine over those of torch, by case. */
function ratios(all: Summary[]): Record<string, number> {
  const torch = new Map(
    all.filter(({ backend }) => backend === 'torch').map((row) => [row.case, row.seconds]),
  );
  const own = all.filter((row) => row.backend === 'latent-edge' && torch.has(row.case));
  return Object.fromEntries(own.map((row) => [row.case, row.seconds / torch.get(row.case)!]));
}

function table(rows: Summary[]): string {
  const head = ['case', 'backend', 'median s', 'min s', 'peak GiB', 'GFLOP/s', 'finite'];
  const lines = rows.map((row) => [
    row.case,
    row.backend,
    row.seconds.toFixed(3),
    Math.min(...row.runs).toFixed(3),
    (row.peakRssBytes / 2 ** 30).toFixed(2),
    row.gigaflops?.toFixed(0) ?? '',
    String(row.finite),
  ]);
  return textTable(head, lines);
}
