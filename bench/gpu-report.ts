import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Precision } from '../sidecar/native.ts';
import type { GpuCase } from './gpu-measure.ts';
import type { Batches, CompileMode } from './gpu-run.ts';
import { ROOT } from './root.ts';

/** What torch's columns are of. */
export interface TorchColumns {
  version: string;
  /** Mode of torch.compile; none: nothing was compiled. */
  compile?: CompileMode;
  /** Where they were measured, if not beside ours. */
  of?: { commit: string; driver: string };
}

/** `bench/results/gpu.json`. */
export interface GpuReport {
  /** What does not follow from the rest; written by hand. */
  note?: string;
  device: string;
  driver: string;
  commit: string;
  date: string;
  command: string;
  /** Timed runs of each module. */
  runs: number;
  /** Timed runs of each pipeline, and how many come before. */
  pipelines: { runs: number; before: number };
  /** Milliseconds that the runs before take at least. */
  settle?: number;
  torch?: TorchColumns;
  dtype: Precision;
  cases: Record<string, GpuCase>;
  /** Milliseconds of an evaluation, by module and rows. */
  batches: Batches;
}

export const GPU_RESULT = join(ROOT, 'bench/results/gpu.json');

export function readReport(file: string): GpuReport {
  return JSON.parse(readFileSync(file, 'utf8')) as GpuReport;
}

/** What a result need not have in common with one that it goes on with. */
const FREE = new Set(['note', 'date', 'command', 'torch', 'cases', 'batches']);

/**
 * A result that is begun, with what one before has; the commands of both.
 * @throws Error where figures of the two would be of different things.
 */
export function resumed(begun: GpuReport, before: GpuReport): GpuReport {
  for (const key of Object.keys({ ...before, ...begun }) as (keyof GpuReport)[])
    if (!FREE.has(key)) expectSame(key, begun[key], before[key]);
  const torch = torchOf(begun, before);
  const commands = before.command.split(' && ');
  if (!commands.includes(begun.command)) commands.push(begun.command);
  return {
    ...(before.note !== undefined && { note: before.note }),
    ...begun,
    command: commands.join(' && '),
    ...(torch && { torch }),
    ...{ cases: before.cases, batches: before.batches },
  };
}

/**
 * A result that is begun, to have torch's columns of another, which do not depend on our commit.
 * @throws Error where they are of another device or type, or there are none.
 */
export function withTorchOf(begun: GpuReport, other: GpuReport): GpuReport {
  expectSame('device', begun.device, other.device);
  expectSame('dtype', begun.dtype, other.dtype);
  if (!other.torch) throw new Error('Expected a result with torch but received one without');
  const { commit, driver, note } = other;
  return { ...(note !== undefined && { note }), ...begun, torch: { of: { commit, driver }, ...other.torch } };
}

/** Torch of both: what is asked for goes on with what is there. */
function torchOf({ torch }: GpuReport, before: GpuReport): TorchColumns | undefined {
  if (!torch || !hasTorch(before.cases)) return torch ?? before.torch;
  expectSame("torch's version", torch.version, before.torch?.version);
  expectSame("torch's commit and driver", torch.of, before.torch?.of);
  if (torch.compile && hasTorch(before.cases, ['torch_compile_ms']))
    expectSame('torch.compile in mode', torch.compile, before.torch?.compile);
  return { ...before.torch, ...torch };
}

/** Whether any case has figures of torch. */
export function hasTorch(
  cases: GpuReport['cases'],
  keys: ('torch_eager_ms' | 'torch_compile_ms')[] = ['torch_eager_ms', 'torch_compile_ms'],
): boolean {
  return Object.values(cases).some((each) => keys.some((key) => each[key] !== null));
}

function expectSame(what: string, expected: unknown, received: unknown): void {
  if (!isDeepStrictEqual(expected, received))
    throw new Error(`Expected a result of ${what} ${show(expected)} but received one of ${show(received)}`);
}

function show(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'none');
}
