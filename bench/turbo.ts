import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { serve as serveHttp } from '@hono/node-server';
import { Command } from 'commander';
import { createApp } from '../edge/app.ts';
import { grpcSidecar } from '../edge/sidecar/grpc.ts';
import { deviceOptions } from '../sidecar/cli/options.ts';
import { Engine, type Timings } from '../sidecar/engine/engine.ts';
import { modelFolders } from '../sidecar/engine/roots.ts';
import { serve } from '../sidecar/main.ts';
import { isShape, randomCheckpoint, SHAPES, type Shape } from './random-checkpoint.ts';
import { circumstances, textTable, whole, writeReport } from './report.ts';
import { ROOT } from './root.ts';
import { type Stages, watchStages } from './stages.ts';
import { median } from './statistics.ts';

interface Options {
  device?: string;
  threads?: number;
  shape?: string;
  prompt: string;
  samePrompt?: boolean;
  size?: number;
  runs: number;
  json?: string;
}

/** `npm run bench -- turbo [MODEL]`: where the time of a request of one step goes. */
export function turboCommand(): Command {
  const command = new Command('turbo')
    .description('where each millisecond of a one-step request goes: in this process, over gRPC, over HTTP')
    .argument(
      '[model]',
      'folder, file or name (default: tiny-emoji-turbo where it is there, else tiny-emoji-ldm)',
    )
    .option(
      '--shape <name>',
      `random weights of a model's true shape, written once: ${Object.keys(SHAPES).join(', ')}`,
    )
    .option('--prompt <text>', 'a number is put after it for each request', 'red apple')
    .option('--same-prompt', 'no number: one prompt for all requests')
    .option('--size <pixels>', "width and height (default: the model's)", whole)
    .option('--runs <n>', 'requests in each way, in turns', whole, 15)
    .option('--json <file>', 'write the result there, and not to standard output');
  return deviceOptions(command).action(run);
}

async function run(named: string | undefined, options: Options): Promise<void> {
  const when = circumstances();
  const takeStages = watchStages();
  const folders = await modelFolders([await modelOf(named, options)]);
  const { device, threads, size, runs } = options;
  const engine = await Engine.open({ folders, device, threads });
  const server = await serve(engine, { host: '127.0.0.1', port: 0 });
  const sidecar = grpcSidecar(server.address);
  const { fetch: handle } = createApp({ sidecar });
  const http = await new Promise<ReturnType<typeof serveHttp>>((resolve) => {
    const listening = serveHttp({ fetch: handle, hostname: '127.0.0.1', port: 0 }, () => resolve(listening));
  });
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/v1/images/generations`;

  let asked = 0;
  const request = () => ({
    prompt: options.samePrompt ? options.prompt : `${options.prompt} ${asked++}`,
    seeds: [1],
    ...{ steps: 1, guidanceScale: 1, width: size, height: size },
  });
  const ways = {
    'in this process': async () => (await engine.generate(request())).timings,
    'over gRPC': async () => {
      for await (const event of sidecar.generate({ ...request() }))
        if (event.result) return event.result.timings as Timings;
      throw new Error('Expected a result');
    },
    'over HTTP, PNG': () => post(url, 'image/png', request()),
    'over HTTP, JSON': () => post(url, 'application/json', request()),
  } satisfies Record<string, () => Promise<Timings | undefined>>;

  const first = await timed(ways['in this process'], takeStages);
  for (const way of Object.values(ways)) await way();
  takeStages();
  const results = new Map<string, Timed[]>(Object.keys(ways).map((name) => [name, []]));
  // In turns, so that a machine that gets slower does so for all.
  for (let i = 0; i < runs; i++)
    for (const [name, way] of Object.entries(ways)) results.get(name)!.push(await timed(way, takeStages));

  const { effective } = await engine.generate(request());
  const report = {
    ...when,
    device: engine.info().devices[0],
    what: `${effective.model} ${effective.width}x${effective.height}, 1 step, guidance off`,
    runs,
    firstRequestMs: first.totalMs,
    stages: stageTable(results.get('in this process')!),
    ways: [...results].map(([way, all]) => ({
      way,
      medianMs: median(all.map(({ totalMs }) => totalMs)),
      minMs: Math.min(...all.map(({ totalMs }) => totalMs)),
      cpuMs: median(all.map(({ cpuMs }) => cpuMs)),
    })),
  };
  print(report);
  writeReport(report, options.json);
  http.close();
  if ('closeAllConnections' in http) http.closeAllConnections();
  sidecar.close();
  await server.stop(0);
}

async function modelOf(named: string | undefined, { shape }: Options): Promise<string> {
  if (shape !== undefined) {
    if (!isShape(shape))
      throw new Error(`Expected ${Object.keys(SHAPES).join(', ')} for --shape but received ${shape}`);
    const folder = join(ROOT, `bench/build/random-${shape}`);
    await randomCheckpoint(folder, console.error, shape as Shape);
    return folder;
  }
  if (named !== undefined) return named;
  const models = await (await modelFolders()).list();
  return models.find(({ name }) => name === 'tiny-emoji-turbo')?.name ?? 'tiny-emoji-ldm';
}

interface Timed {
  totalMs: number;
  /** Of all threads; other processes make it little longer. */
  cpuMs: number;
  stages: Stages;
  timings: Timings | undefined;
}

async function timed(way: () => Promise<Timings | undefined>, takeStages: () => Stages): Promise<Timed> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  const timings = await way();
  const totalMs = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  return { totalMs, cpuMs: (user + system) / 1000, stages: takeStages(), timings };
}

async function post(url: string, accept: string, request: Record<string, unknown>): Promise<undefined> {
  const { prompt, seeds, steps, guidanceScale, width, height } = request;
  const size = width ? `${width}x${height}` : 'auto';
  const body = JSON.stringify({
    prompt,
    seed: (seeds as number[])[0],
    steps,
    guidance_scale: guidanceScale,
    size,
  });
  const headers = { 'content-type': 'application/json', accept };
  const response = await fetch(url, { method: 'POST', headers, body });
  if (!response.ok)
    throw new Error(`Expected an image but received ${response.status}: ${await response.text()}`);
  if (accept === 'image/png') await response.arrayBuffer();
  else await response.json();
}

interface StageRow {
  stage: string;
  medianMs: number;
  share: number;
}

/** Every stage's median; what is on the device by its programs, the rest by what the engine itself reports. */
function stageTable(all: Timed[]): StageRow[] {
  const rows = all.map(({ totalMs, stages, timings }) => stagesOf(totalMs, stages, timings!));
  const total = median(all.map((each) => each.totalMs));
  const medians = Object.keys(rows[0]!).map((stage): StageRow => {
    const medianMs = median(rows.map((row) => row[stage]!));
    return { stage, medianMs, share: medianMs / total };
  });
  return [...medians, { stage: 'all of it', medianMs: total, share: 1 }];
}

function stagesOf(totalMs: number, stages: Stages, t: Timings): Stages {
  const on = (pattern: RegExp) =>
    Object.entries(stages)
      .filter(([name]) => name.startsWith('device ') && pattern.test(name))
      .reduce((sum, [, ms]) => sum + ms, 0);
  const [text, context, unet, decode] = [on(/text_encoder/), on(/context/), on(/unet/), on(/decode/)];
  const noise = stages.noise ?? 0;
  const known = t.queueMs + t.loadMs + t.encodeTextMs + t.encodeImageMs + t.denoiseMs + t.decodeMs;
  return {
    'read the request, find the model, plan': totalMs - known,
    'wait in the queue, take the model': t.queueMs + t.loadMs,
    'text encoder, on the device': text,
    'tokens, copies and checks of the text': t.encodeTextMs - text,
    noise,
    'keys and values of the text, on the device': context,
    'U-Net, on the device': unet,
    'copies, guidance, sampler step': t.denoiseMs - unet - context,
    'decode, on the device': decode,
    'copies, pixels': t.decodeMs - decode,
    PNG: t.encodeImageMs - noise,
  };
}

interface Report {
  what: string;
  stages: StageRow[];
  firstRequestMs: number;
  ways: { way: string; medianMs: number; minMs: number; cpuMs: number }[];
}

function print({ what, stages, firstRequestMs, ways }: Report): void {
  const ms = (value: number) => value.toFixed(value < 100 ? 2 : 0);
  console.error(`${what}; first request ${ms(firstRequestMs)} ms\n`);
  const shares = stages.map((row) => [row.stage, ms(row.medianMs), `${(100 * row.share).toFixed(1)} %`]);
  console.error(textTable(['stage', 'median ms', 'share'], shares));
  const whole = ways.map((row) => [row.way, ms(row.medianMs), ms(row.minMs), ms(row.cpuMs)]);
  console.error(`\n${textTable(['the whole request', 'median ms', 'min ms', 'CPU ms'], whole)}`);
}
