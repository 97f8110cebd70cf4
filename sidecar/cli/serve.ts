import { Command, Option } from 'commander';
import { Engine } from '../engine/engine.ts';
import { inspect } from '../engine/inspect.ts';
import { modelFolders } from '../engine/roots.ts';
import { serve } from '../main.ts';
import type { CallLog } from '../service.ts';
import { bytes, collect, type DeviceOptions, deviceOptions, openOptions, wholeNumber } from './options.ts';

interface ServeFlags extends DeviceOptions {
  host: string;
  port: number;
  webHost: string;
  webPort?: number;
  model?: string[];
  concurrency: number;
  queueLimit: number;
  grace: number;
  memoryBudget?: number;
  preload?: boolean;
}

export function serveCommand(): Command {
  const command = new Command('serve')
    .description('serve images over gRPC')
    .addOption(new Option('--host <address>', 'address to listen on').default('127.0.0.1').env('GRPC_HOST'))
    .addOption(
      new Option('--port <n>', 'port to listen on')
        .default(50051)
        .env('GRPC_PORT')
        .argParser(wholeNumber(0, 65_535)),
    )
    .addOption(
      new Option(
        '--web-port <n>',
        'port to serve gRPC-Web on as well, for an edge on Workers (default: none)',
      )
        .env('GRPC_WEB_PORT')
        .argParser(wholeNumber(0, 65_535)),
    )
    .addOption(
      new Option('--web-host <address>', 'address to serve gRPC-Web on')
        .default('127.0.0.1')
        .env('GRPC_WEB_HOST'),
    )
    .option('--model <dir|name>', 'default model; may be repeated, the first is the default', collect)
    .addOption(
      limit(
        '--concurrency <n>',
        'requests that run at once, taking turns',
        2,
        1,
        64,
        'LATENT_EDGE_CONCURRENCY',
      ),
    )
    .addOption(limit('--queue-limit <n>', 'requests that may wait', 32, 0, 10_000, 'LATENT_EDGE_QUEUE_LIMIT'))
    .addOption(
      new Option(
        '--memory-budget <bytes>',
        "for the weights of loaded models together, as 8GiB (default: half of the device's memory)",
      )
        .env('LATENT_EDGE_MEMORY_BUDGET')
        .argParser(bytes),
    )
    .addOption(
      new Option(
        '--preload',
        'load the default model and make a picture before listening: the first request is as fast as others',
      ).env('LATENT_EDGE_PRELOAD'),
    )
    .addOption(
      limit(
        '--grace <s>',
        'seconds for requests in flight when it is stopped',
        10,
        0,
        3600,
        'LATENT_EDGE_GRACE',
      ),
    );
  return deviceOptions(command).action(run);
}

function limit(flags: string, text: string, value: number, min: number, max: number, env: string): Option {
  return new Option(flags, text).default(value).env(env).argParser(wholeNumber(min, max));
}

async function run({
  host,
  port,
  webHost,
  webPort,
  model,
  concurrency,
  queueLimit,
  grace,
  memoryBudget,
  preload,
  ...device
}: ServeFlags): Promise<void> {
  const folders = await modelFolders(model);
  // What is wrong with the default model is said here, and not to the first who asks for a picture.
  await inspect((await folders.find('')).dir);
  const engine = await Engine.open({
    ...openOptions(device),
    ...{ folders, memoryBudget, concurrency, queueLimit },
  });
  if (preload) await engine.preload();
  const token = process.env.GRPC_WEB_TOKEN || undefined;
  const web = webPort === undefined ? undefined : { host: webHost, port: webPort, token };
  const server = await serve(engine, { host, port, web, log: logCall });
  const [opened] = engine.info().devices;
  console.error(
    `sidecar: grpc://${server.address} on ${opened!.id} (${opened!.name}, ${opened!.arch}, ${opened!.threads} threads)`,
  );
  if (server.webAddress) console.error(`sidecar: gRPC-Web at http://${server.webAddress}`);
  const reason = await stopSignal();
  console.error(
    `sidecar: ${reason}, finishing what is in flight, for ${grace} s at most; again, and it ends at once`,
  );
  await server.stop(grace * 1000);
  if (process.connected) process.disconnect();
}

/** The first SIGINT or SIGTERM, or the end of the process that started this one; a second one ends it at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('disconnect', () => resolve('disconnected'));
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      let seen = false;
      process.on(signal, () => {
        if (seen) process.exit(1);
        seen = true;
        resolve(signal);
      });
    }
  });
}

function logCall({ requestId, method, code, ms, what, error }: CallLog): void {
  const parts = [
    new Date().toISOString(),
    method,
    code,
    `${ms.toFixed(0)} ms`,
    requestId,
    what ?? error?.message ?? '',
  ];
  console.error(parts.join(' '));
  if (error?.code === 'internal') console.error(error.cause);
}
