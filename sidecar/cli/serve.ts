import { delimiter } from 'node:path';
import { type Command, Option } from 'commander';
import { openTracing } from '../../proto/tracing/open.ts';
import { inspect } from '../engine/inspect.ts';
import { modelFolders } from '../engine/roots.ts';
import { callLogger, deviceLogger } from '../log.ts';
import type { RunningServer } from '../main.ts';
import { readAccess } from '../settings/access.ts';
import { readSettings } from '../settings/read.ts';
import { accessStamp, renewAccess } from '../settings/renewal.ts';
import { type Setting, table } from '../settings/table.ts';
import { collect } from './options.ts';
import { LOST } from './status.ts';

const NO_DEVICE = 'no device is left';

/** Milliseconds that its end may take then: a device that does not answer is not waited for. */
const LOST_MS = 5000;

export function serveCommand(command: Command): Command {
  command.option('--config <file>', 'file of settings, JSON (env: LATENT_EDGE_CONFIG)');
  for (const setting of Object.values(table) as Setting<unknown>[]) {
    const { flag, repeats, env } = setting;
    if (!flag) continue;
    const option = new Option(flag, `${setting.what} (${[...defaultOf(setting), `env: ${env}`].join(', ')})`);
    command.addOption(repeats ? option.argParser(collect) : option);
  }
  return command.action(run);
}

function defaultOf({ fallback, otherwise }: Setting<unknown>): string[] {
  const value = otherwise ?? (fallback === false ? undefined : fallback);
  return value === undefined ? [] : [`default: ${value}`];
}

async function run({ config, ...flags }: Record<string, unknown> & { config?: string }): Promise<void> {
  const settings = readSettings({ flags, env: process.env, file: config });
  const since = accessStamp(settings);
  const access = readAccess(settings);
  const { host, port, concurrency, device, threads, dtype, grace, models } = settings;
  // Where models are looked for by every command.
  if (models) process.env.LATENT_EDGE_MODELS = models.join(delimiter);
  const tracesTo = { OTEL_EXPORTER_OTLP_ENDPOINT: settings.traces_endpoint };
  const tracing = await openTracing('latent-edge-sidecar', { ...process.env, ...tracesTo });
  const folders = await modelFolders(settings.model, flags.model ? '--model' : 'LATENT_EDGE_MODEL');
  // What is wrong with the default model is said here, and not to the first who asks for a picture.
  await inspect((await folders.find('')).dir);
  // A second's worth of libraries: what is wrong with the settings has been said by now.
  const [{ Engine }, { serve }] = await Promise.all([import('../engine/engine.ts'), import('../main.ts')]);
  const engine = await Engine.open({
    ...{ folders, device, threads, dtype, concurrency },
    ...{ providers: settings.providers, memoryBytes: settings.device_memory, weights: settings.weights },
    memoryLimit: settings.device_memory,
    ...{ memoryBudget: settings.memory_budget, queueLimit: settings.queue_limit },
    runTimeout: settings.run_timeout,
    onDeviceLost: deviceLogger(settings.log),
  });
  const server = await serve(engine, {
    ...{ host, port, ...access },
    maxRequestBytes: settings.max_request_bytes,
    connections: {
      keepalive: settings.keepalive,
      maxAge: settings.max_connection_age,
      maxAgeGrace: settings.max_connection_age_grace,
    },
    warmUp: settings.preload ? () => engine.preload() : undefined,
    log: callLogger(settings.log),
    tracing,
    logPrompts: settings.log_prompts,
    operations:
      settings.metrics_port === undefined
        ? undefined
        : { host: settings.metrics_host, port: settings.metrics_port },
  });
  const endRenewal = renewAccess(settings, {
    since,
    onRenewed: (renewed) => server.renew(renewed),
    say: (line) => console.error(`sidecar: ${line}`),
  });
  const stopped = Promise.race([stopSignal(), engine.lost.then(() => NO_DEVICE)]);
  try {
    await Promise.race([server.ready, stopped]);
  } catch (error) {
    await server.stop(0);
    throw error;
  }
  const devices = engine.info().devices.map(({ id, name, arch, threads }) => {
    return `${id} (${[name, arch, ...(threads > 0 ? [`${threads} threads`] : [])].join(', ')})`;
  });
  console.error(`sidecar: grpc${access.tls ? 's' : ''}://${server.address} on ${devices.join(', ')}`);
  if (server.webAddress)
    console.error(`sidecar: gRPC-Web at http${access.tls ? 's' : ''}://${server.webAddress}`);
  if (server.operationsAddress)
    console.error(`sidecar: metrics at http://${server.operationsAddress}/metrics`);
  const reason = await stopped;
  if (reason === NO_DEVICE) return endWithoutDevice(server);
  console.error(
    `sidecar: ${reason}, finishing what is in flight, for ${grace} s at most; again, and it ends at once`,
  );
  endRenewal();
  await server.stop(grace * 1000, settings.drain_delay * 1000);
  if (process.connected) process.disconnect();
  // One that hangs is not waited for.
  if (engine.info().devices.some(({ lost }) => lost)) process.exit(0);
}

/** Those in flight have been answered; what cannot be freed is left to the end of the process. */
async function endWithoutDevice(server: RunningServer): Promise<void> {
  console.error(`sidecar: ${NO_DEVICE}, ending with status ${LOST}`);
  process.exitCode = LOST;
  setTimeout(() => process.exit(LOST), LOST_MS).unref();
  await server.stop(LOST_MS / 2);
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
