import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { deviceOptions } from '../sidecar/cli/options.ts';
import { Engine } from '../sidecar/engine/engine.ts';
import { modelFolders } from '../sidecar/engine/roots.ts';
import { circumstances, textTable, whole, writeReport } from './report.ts';
import { median } from './statistics.ts';

interface Options {
  device?: string;
  threads?: number;
  long: string;
  short: string;
  steps: number;
  clients: number;
  rounds: number;
  pause: number;
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
    .option('--json <file>', 'write the result there, and not to standard output');
  return deviceOptions(command).action(run);
}

async function run(options: Options): Promise<void> {
  const when = circumstances();
  const { device, threads, clients, rounds } = options;
  const folders = await modelFolders();
  const open = (concurrency?: number) => Engine.open({ folders, device, threads, concurrency });
  const together = await open();
  const inTurn = await open(1);
  for (const engine of [together, inTurn]) await warm(engine, options);

  const alone = [];
  for (let i = 0; i < 20; i++) alone.push(await timed(() => short(together, options, i)));
  const { timings } = await long(together, options, 0);
  const stepMs = timings.denoiseMs / options.steps;

  // Batches' costs become known while they are used.
  await load(together, options, 1);
  const before = together.occupancy;
  const counted = { runs: before.runs, rows: before.rows, batchedRows: before.batchedRows };
  const batched = await load(together, options, rounds);
  const { runs, rows, batchedRows } = together.occupancy;
  const queued = await load(inTurn, options, rounds);
  const oneAtATimeMs = await timed(() => serial(inTurn, options, clients * rounds, batched.latencies.length));

  const boundMs = 1.5 * median(alone) + stepMs;
  const report = {
    ...when,
    device: together.info().devices[0],
    what: `${options.short}, 1 step, beside ${clients} clients who ask ${options.long} for ${options.steps} steps with guidance`,
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
  print(report);
  writeReport(report, options.json);
  await together.dispose();
  await inTurn.dispose();
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
  const sorted = all.toSorted((a, b) => a - b);
  return { requests: all.length, medianMs: median(all), p95Ms: sorted[Math.floor(0.95 * (all.length - 1))]! };
}

interface Report {
  what: string;
  alone: { medianMs: number; stepOfOthersMs: number };
  together: ReturnType<typeof latencyOf> & {
    boundMs: number;
    occupancy: { rowsPerRun: number; batchedShare: number };
  };
  firstComeFirstServed: ReturnType<typeof latencyOf>;
  throughput: { requests: { long: number; short: number }; ratio: number };
}

function print({ what, alone, together, firstComeFirstServed, throughput }: Report): void {
  const ms = (value: number) => value.toFixed(1);
  console.error(`${what}\n`);
  const rows = [
    ['alone', '', ms(alone.medianMs), ''],
    ...Object.entries({ 'first come, first served': firstComeFirstServed, together }).map(
      ([name, { requests, medianMs, p95Ms }]) => [name, `${requests}`, ms(medianMs), ms(p95Ms)],
    ),
  ];
  console.error(textTable(['requests of one step', 'requests', 'median ms', 'p95 ms'], rows));
  const { boundMs, occupancy } = together;
  console.error(
    `\n1.5 × alone + one step of the others (${ms(alone.stepOfOthersMs)} ms) is ${ms(boundMs)} ms; ` +
      `${occupancy.rowsPerRun.toFixed(2)} rows in a run, ${(100 * occupancy.batchedShare).toFixed(0)} % of them with another request's`,
  );
  const { long, short } = throughput.requests;
  console.error(
    `${long} long and ${short} short ones: ${throughput.ratio.toFixed(2)} times as fast as one at a time`,
  );
}
