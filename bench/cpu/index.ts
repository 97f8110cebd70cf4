import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import sharp from 'sharp';
import { native } from '../../sidecar/native.ts';
import { runOwn, runTorch, spawnForJson } from '../programs.ts';
import { randomCheckpoint, randomControlNet } from '../random-checkpoint.ts';
import { circumstances, textTable, whole } from '../report.ts';
import { ROOT } from '../root.ts';
import { median } from '../statistics.ts';
import {
  addUp,
  CASES,
  type Folders,
  type ModuleCase,
  type RequestCase,
  type SdcppCall,
  SdcppParts,
} from './cases.ts';
import { writeOriginalControlNet } from './original-controlnet.ts';
import { writeCpuPage } from './page.ts';
import { fmaPeak } from './peak.ts';
import {
  addCase,
  CPU_RESULT,
  type CpuCase,
  type Measured,
  readCpuReport,
  resumed,
  rounded,
} from './report.ts';
import type { RequestResult } from './request.ts';
import { runSdcpp, sdcppBuild } from './sdcpp.ts';

const SIZE = 512;
/** What chooses a lesser instruction set in torch's parts; stable-diffusion.cpp's is chosen when it is built. */
const TORCH_ISA: Record<string, Record<string, string>> = {
  avx2: { ATEN_CPU_CAPABILITY: 'avx2', ONEDNN_MAX_CPU_ISA: 'AVX2', MKL_ENABLE_INSTRUCTIONS: 'AVX2' },
};

interface Options {
  cases: string[];
  threads?: number;
  runs: number;
  rounds: number;
  isa?: string;
  python?: string;
  channelsLast?: boolean;
  sdcpp?: string;
  resume?: boolean;
  json: string;
}

/** `npm run bench:cpu`: modules and requests of full size on the CPU, beside torch and stable-diffusion.cpp. */
export function cpuCommand(): Command {
  return new Command('cpu')
    .description(
      "time Stable Diffusion 1.5's modules and whole requests, 512x512, random weights, on the CPU",
    )
    .option('--cases <names>', 'which, by commas', (text) => text.split(','), Object.keys(CASES))
    .option('--threads <n>', 'of every program (default: one for each core)', whole)
    .option('--runs <n>', 'timed runs of each process of ours and of torch', whole, 3)
    .option('--rounds <n>', 'processes for each program and case, in turns', whole, 1)
    .option('--isa <name>', 'a lesser instruction set, of ours and of torch: avx2')
    .option('--python <path>', 'a Python with torch, diffusers and transformers: compare with torch')
    .option('--channels-last', "torch's channels_last layout")
    .option('--sdcpp <path>', "stable-diffusion.cpp's sd-cli: compare with it")
    .option(
      '--resume',
      'keep the cases that the result has of the same commit, machine, threads and sd-cli, measure the others',
    )
    .option('--json <file>', 'where the result goes, after every case', CPU_RESULT)
    .action(run);
}

/** `npm run bench -- cpu-page`: docs/cpu.md out of the results. */
export function cpuPageCommand(): Command {
  return new Command('cpu-page')
    .description('write docs/cpu.md out of bench/results/cpu.json and cpu-avx2.json')
    .action(writeCpuPage);
}

async function run(options: Options, command: Command): Promise<void> {
  const unknown = options.cases.find((name) => !Object.hasOwn(CASES, name));
  if (unknown) command.error(`Expected ${Object.keys(CASES).join(', ')} for --cases but received ${unknown}`);
  const { date, commit, command: line, machine } = circumstances();
  if (options.isa) process.env.LATENT_EDGE_ISA = options.isa;
  const cpu = native().devices()[0]!;
  const threads = options.threads ?? cpu.threads;
  const folders = await prepare();

  const begun = {
    machine: `${machine}; ${cpu.arch}, ${threads} threads`,
    commit,
    ...(options.sdcpp && { sdcpp: sdcppBuild(options.sdcpp) }),
    date,
    command: line,
  };
  const before = options.resume && existsSync(options.json) ? readCpuReport(options.json) : undefined;
  const report = resumed({ ...begun, peak_gflops: 0, cases: {} }, before);
  if (!options.python) console.error('torch is not measured: --python PATH');
  if (!options.sdcpp) console.error('stable-diffusion.cpp is not measured: --sdcpp PATH');
  const measure = measurement(folders, threads, options);
  for (const [name, which] of Object.entries(CASES)) {
    if (!options.cases.includes(name) || report.cases[name]) continue;
    const measured = measure(which);
    addCase(report, name, measured, fmaPeak(cpu.arch, threads) / 1e9);
    const { ours_s, torch_s, sdcpp_s } = measured;
    console.error(`${name}: ours ${cell(ours_s)} s, torch ${cell(torch_s)}, sdcpp ${cell(sdcpp_s)}`);
    // Whole or not at all: this process may be ended at any time.
    writeFileSync(`${options.json}.part`, `${JSON.stringify(report, null, 2)}\n`);
    renameSync(`${options.json}.part`, options.json);
  }
  const { machine: where, peak_gflops, cases } = report;
  console.error(`${where}, FMA peak ${peak_gflops.toFixed(0)} GFLOP/s\n${tableOf(cases)}`);
}

async function prepare(): Promise<Folders> {
  const folder = (name: string) => join(ROOT, `bench/build/random-${name}`);
  await randomCheckpoint(folder('sd15'), console.error);
  await randomControlNet(folder('sd15'), console.error);
  const weights = join(folder('sd15'), 'controlnet/diffusion_pytorch_model.safetensors');
  const controlNet = `${folder('controlnet-original')}.safetensors`;
  await writeOriginalControlNet(weights, controlNet);
  await randomCheckpoint(folder('sd-turbo'), console.error, 'sd-turbo');
  const hint = join(ROOT, 'bench/build/hint.png');
  const create = { width: SIZE, height: SIZE, channels: 3, background: '#808080' } as const;
  await sharp({ create }).png().toFile(hint);
  return { sd15: folder('sd15'), 'sd-turbo': folder('sd-turbo'), controlNet, hint };
}

/** Measures a case by every program that there is, turn by turn. */
function measurement(folders: Folders, threads: number, options: Options) {
  const { runs, rounds, python, channelsLast, sdcpp, isa } = options;
  const torchEnv = (isa && TORCH_ISA[isa]) || {};
  const torchKnown = new Map<string, number>();
  const torchModule = (model: RequestCase['model'], module: ModuleCase['module'], batch: number): number => {
    const key = `${model} ${module} ${batch}`;
    const wanted = { threads, size: SIZE, batch, runs, channelsLast };
    const known = torchKnown.get(key) ?? runTorch(python!, module, folders[model], wanted, torchEnv).seconds;
    torchKnown.set(key, known);
    return known;
  };
  // One of its runs has the times of several cases.
  const runOther = (each: SdcppCall) => {
    const times = runSdcpp(sdcpp!, { ...each, threads, size: SIZE });
    const { model, controlNet, ...how } = each;
    console.error('sdcpp', JSON.stringify({ ...how, isControlled: Boolean(controlNet), ...times }));
    return times;
  };
  const sdcppParts = Array.from({ length: rounds }, () => new SdcppParts(runOther, folders));
  const own = (which: ModuleCase | RequestCase): { runs: number[]; flops: number; peakRssBytes: number } => {
    if (which.kind === 'module') {
      const { module, batch } = which;
      const wanted = { device: 'cpu', threads, size: SIZE, batch, runs };
      const result = runOwn(module, folders.sd15, wanted);
      return { ...result, flops: result.gigaflops * result.seconds * 1e9 };
    }
    const { model, steps, guidance } = which;
    const script = fileURLToPath(new URL('./request.js', import.meta.url));
    const wanted = { threads, size: SIZE, steps, guidance, runs: steps > 4 ? 1 : runs };
    return spawnForJson<RequestResult>(process.execPath, [script, folders[model], JSON.stringify(wanted)]);
  };

  return (which: ModuleCase | RequestCase): Measured => {
    const [ours, torch, theirs]: [ReturnType<typeof own>[], number[], number[]] = [[], [], []];
    for (let round = 0; round < rounds; round++) {
      ours.push(own(which));
      if (python) {
        if (which.kind === 'module') torchKnown.delete(`sd15 ${which.module} ${which.batch}`);
        torch.push(
          which.kind === 'module'
            ? torchModule('sd15', which.module, which.batch)
            : addUp(which, torchModule),
        );
      }
      if (sdcpp) {
        const parts = sdcppParts[round]!;
        theirs.push(
          which.kind === 'module'
            ? parts.seconds('sd15', which.module, which.batch)
            : addUp(which, (...part) => parts.seconds(...part)),
        );
      }
    }
    const seconds = median(ours.flatMap((each) => each.runs));
    const middle = (values: number[]) => {
      const known = values.filter((value) => !Number.isNaN(value));
      return known.length > 0 ? rounded(median(known), 4) : null;
    };
    return {
      ours_s: rounded(seconds, 4),
      torch_s: middle(torch),
      sdcpp_s: middle(theirs),
      ours_rss_mb: Math.round(Math.max(...ours.map(({ peakRssBytes }) => peakRssBytes)) / 1e6),
      gflops: ours[0]!.flops / seconds / 1e9,
    };
  };
}

function cell(seconds: number | null): string {
  return seconds === null ? '' : seconds.toFixed(seconds < 1 ? 3 : 2);
}

function tableOf(cases: Record<string, CpuCase>): string {
  const rows = Object.entries(cases).map(([name, c]) => [
    name,
    ...[c.ours_s, c.torch_s, c.sdcpp_s].map(cell),
    String(c.ours_rss_mb),
    c.fraction_of_peak.toFixed(2),
  ]);
  return textTable(['case', 'ours s', 'torch s', 'sdcpp s', 'ours MB', 'of peak'], rows);
}
