import { type Command, InvalidArgumentError, Option } from 'commander';
import { weightStorages } from '../checkpoints/weights.ts';
import type { OpenOptions, Precision, Providers } from '../native.ts';

/** A whole number from `min` to `max`, written in digits. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(
      `Expected a whole number from ${min} to ${max} but received ${JSON.stringify(text)}.`,
    );
  };
}

/** A number from `min` to `max`. */
export function number(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(
      `Expected a number from ${min} to ${max} but received ${JSON.stringify(text)}.`,
    );
  };
}

/** `8GiB`, `500MB`, or bytes. */
export function bytes(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*(?:([KMGT])(i?))?B?$/i.exec(text.trim());
  const power = match?.[2] ? ' KMGT'.indexOf(match[2].toUpperCase()) : 0;
  const value = Math.round(Number(match?.[1]) * (match?.[3] ? 1024 : 1000) ** power);
  if (value >= 1 && value <= Number.MAX_SAFE_INTEGER) return value;
  throw new InvalidArgumentError(
    `Expected an amount of memory such as 8GiB or 500MB but received ${JSON.stringify(text)}.`,
  );
}

/** `512x768` */
export function size(text: string): { width: number; height: number } {
  const match = /^(\d{1,5})x(\d{1,5})$/.exec(text);
  const [width, height] = [Number(match?.[1]), Number(match?.[2])];
  const fits = (n: number) => n >= 8 && n <= 4096 && n % 8 === 0;
  if (fits(width) && fits(height)) return { width, height };
  throw new InvalidArgumentError(
    `Expected WIDTHxHEIGHT, both multiples of 8 from 8 to 4096, but received ${JSON.stringify(text)}.`,
  );
}

/** `1024x768`, any number of pixels up to 65536. */
export function anySize(text: string): { width: number; height: number } {
  const match = /^(\d{1,5})x(\d{1,5})$/.exec(text);
  const [width, height] = [Number(match?.[1]), Number(match?.[2])];
  if (match && Math.min(width, height) > 0 && Math.max(width, height) <= 65_536) return { width, height };
  throw new InvalidArgumentError(
    `Expected WIDTHxHEIGHT, from 1 to 65536 each, but received ${JSON.stringify(text)}.`,
  );
}

/** `64,0`: pixels that were cut off at the left and at the top. */
export function corner(text: string): { left: number; top: number } {
  const match = /^(\d{1,5}),(\d{1,5})$/.exec(text);
  const [left, top] = [Number(match?.[1]), Number(match?.[2])];
  if (match && Math.max(left, top) <= 65_536) return { left, top };
  throw new InvalidArgumentError(
    `Expected LEFT,TOP, from 0 to 65536 each, but received ${JSON.stringify(text)}.`,
  );
}

/** `42`, or one for each image: `1,2,3`. */
export function seeds(text: string): number[] {
  return text.split(',').map(wholeNumber(0, Number.MAX_SAFE_INTEGER));
}

export interface LoraFlag {
  /** A name, or a file. */
  lora: string;
  scale: number;
}

/** Another `NAME`, `FILE`, or one of them with `:SCALE` after it. */
export function loras(text: string, previous: LoraFlag[] = []): LoraFlag[] {
  const match = /^(.+):([^:/\\]*)$/.exec(text);
  const [lora, scale] = match ? [match[1]!, number(-100, 100)(match[2]!)] : [text, 1];
  return [...previous, { lora, scale }];
}

export interface DeviceOptions {
  device: string;
  threads?: number;
  dtype?: Precision;
  providers?: Providers;
  deviceMemory?: number;
  runTimeout?: number;
}

/** What to open the device with. */
export function openOptions({
  device,
  threads,
  dtype,
  providers,
  deviceMemory,
  runTimeout,
}: DeviceOptions): OpenOptions & { runTimeout?: number } {
  return { device, threads, dtype, providers, runTimeout, memoryBytes: deviceMemory };
}

/** The options that every command has which computes. */
export function deviceOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--device <id>',
        'where to compute: cpu, cuda:N, or auto, the first GPU if there is one; `latent-edge devices` lists them',
      )
        .default('cpu')
        .env('LATENT_EDGE_DEVICE'),
    )
    .addOption(
      new Option('--threads <n>', 'CPU threads (default: one for each core)')
        .argParser(wholeNumber(1, 256))
        .env('LATENT_EDGE_THREADS'),
    )
    .addOption(
      new Option('--dtype <name>', "what to compute in (default: the device's own; a CPU's is f32)")
        .choices(['f32', 'f16', 'bf16'])
        .env('LATENT_EDGE_DTYPE'),
    )
    .addOption(
      new Option(
        '--providers <name>',
        'who computes on a GPU: hand, our own kernels; vendor, cuBLASLt and cuDNN wherever they can; auto, whoever is faster',
      )
        .choices(['hand', 'vendor', 'auto'])
        .default('hand')
        .env('LATENT_EDGE_PROVIDERS'),
    )
    .addOption(
      new Option('--device-memory <bytes>', "at most so much of a GPU's memory, as 8GiB (default: all)")
        .env('LATENT_EDGE_DEVICE_MEMORY')
        .argParser(bytes),
    )
    .addOption(runTimeoutOption());
}

export function weightsOption(): Option {
  return new Option(
    '--weights <name>',
    'how matrices are kept in memory: file, as the files have them; int8, in 8 bits, on CPUs alone',
  )
    .choices(weightStorages)
    .default('file')
    .env('LATENT_EDGE_WEIGHTS');
}

export function runTimeoutOption(): Option {
  return new Option(
    '--run-timeout <s>',
    'seconds after which what a device was told to do is taken to hang; 0: never (default: 60 on a GPU, never on a CPU)',
  )
    .argParser(wholeNumber(0, 86_400))
    .env('LATENT_EDGE_RUN_TIMEOUT');
}

export const collect = (value: string, previous: string[] = []): string[] => [...previous, value];
