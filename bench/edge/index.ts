import { spawnSync } from 'node:child_process';
import { Agent, request } from 'node:http';
import autocannon from 'autocannon';
import { Command } from 'commander';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { circumstances, textTable, whole, writeReport } from '../report.ts';
import { median } from '../statistics.ts';
import { allocator, type EdgeUnderLoad, startEdge } from './servers.ts';

interface Options {
  runs: number;
  streams: number;
  requests: number;
  json?: string;
}

/** `npm run bench -- edge`: what the edge adds to a call of its sidecar, and how it bears load. */
export function edgeCommand(): Command {
  return new Command('edge')
    .description('what the edge (Node) adds to gRPC, many streams at once, memory over many requests')
    .option('--runs <n>', 'requests of one caller, in each way', whole, 1000)
    .option('--streams <n>', 'streams at once', whole, 200)
    .option('--requests <n>', 'requests over which memory is watched', whole, 10_000)
    .option('--json <file>', 'write the result there, and not to standard output')
    .action(run);
}

async function run({ runs, streams, requests, json }: Options): Promise<void> {
  // The caller keeps its memory as the edge does: neither way is the faster for that.
  if (Object.keys(allocator).some((name) => process.env[name] === undefined)) {
    const again = [...process.execArgv, ...process.argv.slice(1)];
    const env = { ...allocator, ...process.env };
    process.exitCode = spawnSync(process.execPath, again, { env, stdio: 'inherit' }).status ?? 1;
    return;
  }
  const when = circumstances();
  const edge = await startEdge();
  try {
    const latency = await latencies(edge, runs);
    const many = await streamsAtOnce(edge, streams);
    const memory = await memoryOver(edge, requests);
    const report = { ...when, pngBytes: edge.pngBytes, runs, latency, streams: many, memory };
    print(report);
    writeReport(report, json);
  } finally {
    edge.stop();
  }
}

/** Milliseconds, of one caller who waits for each reply; in ten turns, so that a busier machine is so for all; over: a turn's median less that of the direct calls in it. */
async function latencies(edge: EdgeUnderLoad, runs: number) {
  const sidecar = grpcSidecar(edge.address);
  const rounds = 10;
  const each = Math.ceil(runs / rounds);
  const ways: Record<string, () => Promise<number[]>> = {
    'gRPC, directly': async () => {
      const times: number[] = [];
      for (let i = 0; i < each; i++) {
        const began = performance.now();
        for await (const event of sidecar.generate({ prompt: 'x', seeds: [i] })) void event;
        times.push(performance.now() - began);
      }
      return times;
    },
    'HTTP, no edge: a bare server': () => askInTurn(edge.bareUrl, each, 'image/png'),
    'HTTP, the PNG itself': () => askInTurn(edge.url, each, 'image/png'),
    'HTTP, JSON': () => askInTurn(edge.url, each, 'application/json'),
  };
  for (const way of Object.values(ways)) await way();
  const turns: Record<string, number[][]> = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++)
    for (const [name, way] of Object.entries(ways)) turns[name]!.push(await way());
  sidecar.close();
  const direct = turns['gRPC, directly']!.map(median);
  return Object.entries(turns).map(([way, each]) => {
    const sorted = each.flat().toSorted((a, b) => a - b);
    const [p10Ms, p90Ms] = [0.1, 0.9].map((share) => sorted[Math.floor(share * sorted.length)]!);
    // Held against the calls of the same turn: what a machine does beside drifts from one to the next.
    const over = each.map((times, round) => median(times) - direct[round]!).toSorted((a, b) => a - b);
    const overheadMs = { median: median(over), least: over[0]!, most: over.at(-1)! };
    return { way, p10Ms: p10Ms!, medianMs: median(sorted), p90Ms: p90Ms!, overheadMs };
  });
}

/** The same by Node's own client, whose parser is native: autocannon's takes longer over a reply than the edge. */
async function askInTurn(base: string, count: number, accept: string): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const headers = { 'content-type': 'application/json', accept };
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    await new Promise<void>((resolve, reject) => {
      const url = `${base}/v1/images/generations`;
      const sent = request(url, { method: 'POST', agent, headers }, (response) => {
        response.on('end', resolve).on('error', reject).resume();
      });
      sent.on('error', reject).end('{"prompt":"x"}');
    });
    times.push(performance.now() - began);
  }
  agent.destroy();
  return times;
}

interface Load {
  amount: number;
  connections?: number;
  body?: object;
  /** Called for each reply. */
  onReply?: (status: number, text: string) => void;
}

async function post(edge: EdgeUnderLoad, load: Load): Promise<void> {
  const { amount, connections = 1, body = {}, onReply } = load;
  const options: autocannon.Options = {
    url: `${edge.url}/v1/images/generations`,
    ...{ method: 'POST', amount, connections, timeout: 120 },
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', ...body }),
    setupClient: (client) => {
      if (!onReply) return;
      let parts: Buffer[] = [];
      client.on('body', (bytes) => void parts.push(bytes));
      client.on('response', (status) => {
        onReply(status, Buffer.concat(parts).toString());
        parts = [];
      });
    },
  };
  const { errors, timeouts } = await new Promise<autocannon.Result>((resolve, reject) => {
    autocannon(options, (error, result) => (error ? reject(error) : resolve(result)));
  });
  if (errors + timeouts > 0) throw new Error(`Expected replies but ${errors + timeouts} requests had none`);
}

/** Each has to be answered whole, or refused with 429. */
async function streamsAtOnce(edge: EdgeUnderLoad, count: number) {
  let [completed, refused, broken] = [0, 0, 0];
  const began = performance.now();
  await post(edge, {
    ...{ amount: count, connections: count },
    body: { prompt: '20 steps of 50 ms', stream: true },
    onReply: (status, text) => {
      if (status === 200 && text.includes('event: image_generation.completed')) completed++;
      else if (status === 429) refused++;
      else broken++;
    },
  });
  return { count, completed, refused, broken, seconds: (performance.now() - began) / 1000 };
}

/** MiB of the edge's process: at first, and after each tenth of the requests. */
async function memoryOver(edge: EdgeUnderLoad, requests: number) {
  const rssMiB = [edge.rss()];
  const began = performance.now();
  let failed = 0;
  for (let tenth = 0; tenth < 10; tenth++) {
    await post(edge, {
      ...{ amount: Math.ceil(requests / 10), connections: 16 },
      onReply: (status, text) => {
        if (status !== 200 && failed++ === 0) console.error(`${status}: ${text.slice(0, 300)}`);
      },
    });
    rssMiB.push(edge.rss());
  }
  const perSecond = requests / ((performance.now() - began) / 1000);
  return { requests, failed, perSecond, rssMiB };
}

interface Report {
  latency: Awaited<ReturnType<typeof latencies>>;
  streams: Awaited<ReturnType<typeof streamsAtOnce>>;
  memory: Awaited<ReturnType<typeof memoryOver>>;
  pngBytes: number;
}

function print({ latency, streams, memory, pngBytes }: Report): void {
  console.error(`a PNG of 512×512, ${pngBytes} bytes, from a sidecar that answers at once\n`);
  const rows = latency.map((row) => [
    ...[row.way, row.p10Ms.toFixed(2), row.medianMs.toFixed(2), row.p90Ms.toFixed(2)],
    row.overheadMs.median.toFixed(2),
    `${row.overheadMs.least.toFixed(2)} to ${row.overheadMs.most.toFixed(2)}`,
  ]);
  console.error(
    textTable(['one caller', 'p10 ms', 'median ms', 'p90 ms', 'overhead ms', 'turn by turn'], rows),
  );
  const { count, completed, refused, broken, seconds } = streams;
  console.error(
    `\n${count} streams at once: ${completed} completed, ${refused} refused with 429, ${broken} neither, in ${seconds.toFixed(1)} s`,
  );
  const { requests, failed, perSecond, rssMiB } = memory;
  console.error(
    `${requests} requests, ${failed} failed, ${perSecond.toFixed(0)} a second; the edge's memory, MiB: ${rssMiB.map((value) => value.toFixed(0)).join(', ')}`,
  );
}
