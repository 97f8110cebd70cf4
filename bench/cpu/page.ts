import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { markdownTable } from '../page.ts';
import { ROOT } from '../root.ts';
import { GOALS_IN_WORDS, judgement } from './goals.ts';
import { CPU_RESULT, type CpuReport, readCpuReport } from './report.ts';

export const CPU_PAGE = join(ROOT, 'docs/cpu.md');
/** Every result of `npm run bench:cpu` that the page shows. */
export const CPU_RESULTS = [CPU_RESULT, join(ROOT, 'bench/results/cpu-avx2.json')];

export function writeCpuPage(): void {
  writeFileSync(CPU_PAGE, cpuPage(readCpuReports()));
}

export function readCpuReports(): CpuReport[] {
  return CPU_RESULTS.filter(existsSync).map(readCpuReport);
}

/** docs/cpu.md. */
export function cpuPage(reports: CpuReport[]): string {
  return [
    '# Speed on a CPU',
    '',
    '<!-- Written by npm run bench -- cpu-page out of bench/results/cpu.json and cpu-avx2.json. -->',
    '',
    ...[GOALS_IN_WORDS, ''],
    ...(reports.length > 0 ? reports.flatMap(section) : ['There are no figures yet.', '']),
    ...HOW,
    '',
  ].join('\n');
}

function section(report: CpuReport): string[] {
  const { note, machine, peak_gflops, commit, sdcpp, date, command, cases } = report;
  const rows = Object.entries(cases).map(([name, c]) => [
    name,
    seconds(c.ours_s),
    seconds(c.torch_s),
    seconds(c.sdcpp_s),
    times(c.torch_s, c.ours_s),
    times(c.sdcpp_s, c.ours_s),
    c.fraction_of_peak.toFixed(2),
    String(c.ours_rss_mb),
  ]);
  const head = ['', 'latent-edge s', 'torch s', 'stable-diffusion.cpp s', 'torch / ours'];
  return [
    `${machine}, FMA peak ${peak_gflops.toFixed(0)} GFLOP/s, commit ${commit}, ${date.slice(0, 10)}: \`${command}\``,
    '',
    ...(sdcpp ? [`stable-diffusion.cpp ${sdcpp}.`, ''] : []),
    ...(note ? [note, ''] : []),
    markdownTable([...head, 'stable-diffusion.cpp / ours', 'of FMA peak', 'peak memory MB'], rows),
    '',
    / avx2,/.test(machine) ? 'Of the goals:' : 'Of the same goals, which were set for AVX2:',
    '',
    ...judgement(report),
    '',
  ];
}

function seconds(value: number | null): string {
  return value === null ? '' : value.toFixed(value < 1 ? 3 : 2);
}

function times(other: number | null, ours: number): string {
  return other === null ? '' : `${(other / ours).toFixed(2)}×`;
}

const HOW = [
  '## How it is measured',
  '```sh',
  'npm run bench:cpu -- --python ./venv/bin/python --sdcpp ./sd-cli   # bench/results/cpu.json',
  'npm run bench:cpu -- --isa avx2 --json bench/results/cpu-avx2.json # a lesser instruction set, ours and of torch',
  'npm run bench:cpu -- --cases vae-decode-512 --resume               # some cases; others stay as they are',
  'npm run bench -- cpu-page                                          # this page',
  '```',
  'Random weights of the true shapes in fp16 files, 512×512, nothing else of ours running, every program on the same threads and in turns, a process for each. torch computes in float32, as this engine does; stable-diffusion.cpp with the files’ fp16 weights and flash attention in the U-Net (`--diffusion-fa`: 11.4 and 12.8 s an evaluation, and 20.1 and 23.4 s without, in turns), as its default build has it (`GGML_NATIVE`, or `GGML_AVX2` and the like; without `GGML_LLAMAFILE`), whichever of these builds is the fastest on the machine. A program that is not given is left out.',
  '',
  'Ours and torch’s modules: medians of the runs after one that is not counted, from tensors to tensors; a ControlNet’s residuals are kept on the device, which still copies them once: in a request, where it is one program with the U-Net, nothing does. stable-diffusion.cpp’s are what it reports: a U-Net evaluation is its sampling by steps (two evaluations one after the other with guidance), a ControlNet the difference it makes. Requests are from prompt to PNG, weights loaded; torch’s and stable-diffusion.cpp’s are their modules added up, text, steps and decode. Ours takes twenty steps by the model’s own sampler, PNDM, which evaluates the U-Net 21 times; theirs are twenty evaluations.',
  '',
  'Of FMA peak: operations over time over what the vector units do when they read nothing, the most of any time that the table was worked on. A convolution counts as its direct sum, so that Winograd’s can be above 1. Memory: the most our process had at once.',
];
