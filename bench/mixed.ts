import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { deviceOptions } from '../sidecar/cli/options.ts';
import { Engine } from '../sidecar/engine/engine.ts';
import { modelFolders } from '../sidecar/engine/roots.ts';
import { circumstances, textTable, whole, writeReport } from './report.ts';
import { median, percentile } from './statistics.ts';

interface Options {
  device?: string;
  threads?: number;
  long: string;
  short: string;
  steps: number;
  clients: number;
  rounds: number;
  pause: number;
  repeat: number;
  json?: string;
}

/** `npm run bench -- mixed`: requests of one step beside those of fifty. */
export function mixedCommand(): Command {
  const command = new Command('mixed')
    .description(
      'requests of one step beside those of many: how long they wait, and what is made in all, served together and one at a time',
    )
    .option('--long <model>', 'of the requests of many steps, with guidance', 'tiny-emoji-ldm')
    .option('--short <model>', 'of those of one step, without', 'tiny-emoji-turbo')
    .option('--steps <n>', 'of the long ones', whole, 50)
    .option('--clients <n>', 'who ask for long ones, one after the other', whole, 4)
    .option('--rounds <n>', 'long ones that each of them asks for', whole, 4)
    .option('--pause <ms>', 'between one answer and the next request of one step', whole, 40)
    .option('--repeat <n>', 'of all that; the result has the medians', whole, 1)
    .option('--json <file>', 'write the result there, and not to standard output');
  return deviceOptions(command).action(run);
}

async function run(options: Options): Promise<void> {
  const when = circumstances();
  const { device, threads } = options;
  const folders = await modelFolders();
  const open = (concurrency?: number) => Engine.open({ folders, device, threads, concurrency });
  const engines = { together: await open(), inTurn: await open(1) };
  for (const engine of Object.values(engines)) await warm(engine, options);
  // Batches' costs become known while they are used.
  await load(engines.together, options, 1);

  const results: Result[] = [];
  for (let i = 0; i < options.repeat; i++) results.push(await measure(engines, options));
  const report = {
    ...when,
    device: engines.together.info().devices[0],
    what: `${options.short}, 1 step, beside ${options.clients} clients who ask ${options.long} for ${options.steps} steps with guidance`,
    medians: medians(results),
    results,
  };
  print(report);
  writeReport(report, options.json);
  for (const engine of Object.values(engines)) await engine.dispose();
}

type Result = Awaited<ReturnType<typeof measure>>;

async function measure({ together, inTurn }: { together: Engine; inTurn: Engine }, options: Options) {
  const { clients, rounds } = options;
  const alone = [];
  for (let i = 0; i < 20; i++) alone.push(await timed(() => short(together, options, i)));
  const { timings } = await long(together, options, 0);
  const stepMs = timings.denoiseMs / options.steps;

  const before = together.occupancy;
  const counted = { runs: before.runs, rows: before.rows, batchedRows: before.batchedRows };
  const batched = await load(together, options, rounds);
  const { runs, rows, batchedRows } = together.occupancy;
  const queued = await load(inTurn, options, rounds);
  const oneAtATimeMs = await timed(() => serial(inTurn, options, clients * rounds, batched.latencies.length));

  const boundMs = 1.5 * median(alone) + stepMs;
  return {
    alone: { medianMs: median(alone), stepOfOthersMs: stepMs },
    together: {
      ...latencyOf(batched.latencies),
      boundMs,
      isWithinBound: median(batched.latencies) <= boundMs,
      occupancy: {
        runs: runs - counted.runs,
        rowsPerRun: (rows - counted.rows) / (runs - counted.runs),
        batchedShare: (batchedRows - counted.batchedRows) / (rows - counted.rows),
      },
    },
    firstComeFirstServed: latencyOf(queued.latencies),
    throughput: {
      requests: { long: clients * rounds, short: batched.latencies.length },
      togetherMs: batched.ms,
      oneAtATimeMs,
      ratio: oneAtATimeMs / batched.ms,
    },
  };
}

function medians(results: Result[]) {
  const of = (value: (result: Result) => number) => median(results.map(value));
  return {
    aloneMs: of(({ alone }) => alone.medianMs),
    stepOfOthersMs: of(({ alone }) => alone.stepOfOthersMs),
    togetherMs: of(({ together }) => together.medianMs),
    togetherP95Ms: of(({ together }) => together.p95Ms),
    boundMs: of(({ together }) => together.boundMs),
    withinBound: results.filter(({ together }) => together.isWithinBound).length,
    firstComeFirstServedMs: of(({ firstComeFirstServed }) => firstComeFirstServed.medianMs),
    rowsPerRun: of(({ together }) => together.occupancy.rowsPerRun),
    batchedShare: of(({ together }) => together.occupancy.batchedShare),
    throughputRatio: of(({ throughput }) => throughput.ratio),
  };
}

function long(engine: Engine, { long: model, steps }: Options, seed: number) {
  return engine.generate({ model, prompt: `red apple ${seed}`, seeds: [seed], steps });
}

function short(engine: Engine, { short: model }: Options, seed: number) {
  return engine.generate({ model, prompt: `cat face ${seed}`, seeds: [seed], steps: 1, guidanceScale: 1 });
}

async function warm(engine: Engine, options: Options): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await long(engine, { ...options, steps: 3 }, i);
    await short(engine, options, i);
  }
}

/** Clients who ask for long requests, each for one after the other, and one who asks for short ones meanwhile. */
async function load(engine: Engine, options: Options, rounds: number) {
  const latencies: number[] = [];
  let isOver = false;
  const client = async (id: number) => {
    for (let i = 0; i < rounds; i++) await long(engine, options, id * rounds + i);
  };
  const impatient = async () => {
    while (!isOver) {
      latencies.push(await timed(() => short(engine, options, 1000 + latencies.length)));
      await sleep(options.pause);
    }
  };
  const began = performance.now();
  const shorts = impatient();
  await Promise.all(Array.from({ length: options.clients }, (_, id) => client(id)));
  isOver = true;
  const ms = performance.now() - began;
  await shorts;
  return { latencies, ms };
}

/** The same work, one request after the other, nobody pausing. */
async function serial(engine: Engine, options: Options, longs: number, shorts: number): Promise<void> {
  for (let i = 0; i < longs; i++) await long(engine, options, i);
  for (let i = 0; i < shorts; i++) await short(engine, options, 1000 + i);
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

function latencyOf(all: readonly number[]) {
  return { requests: all.length, medianMs: median(all), p95Ms: percentile(all, 0.95) };
}

interface Report {
  what: string;
  medians: ReturnType<typeof medians>;
  results: Result[];
}

function print({ what, medians: m, results }: Report): void {
  const ms = (value: number) => value.toFixed(1);
  console.error(`${what}\n`);
  const rows = [
    ['alone', ms(m.aloneMs), ''],
    ['first come, first served', ms(m.firstComeFirstServedMs), ''],
    ['together', ms(m.togetherMs), ms(m.togetherP95Ms)],
  ];
  console.error(textTable(['requests of one step', 'median ms', 'p95 ms'], rows));
  const times = results.length === 1 ? 'once' : `${results.length} times, medians`;
  console.error(
    `\nmeasured ${times}; 1.5 × alone + one step of the others (${ms(m.stepOfOthersMs)} ms) is ${ms(m.boundMs)} ms, ` +
      `kept ${m.withinBound} times; ${m.rowsPerRun.toFixed(2)} rows in a run, ${(100 * m.batchedShare).toFixed(0)} % of them with another request's`,
  );
  const ratios = results.map(({ throughput }) => throughput.ratio.toFixed(2)).join(', ');
  console.error(`the same work takes ${ratios} times as long one at a time`);
}
