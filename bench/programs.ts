import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CaseResult, MeasureOptions } from './measure.ts';
import { ROOT } from './root.ts';

/** Beside this process's environment. */
type Environment = Record<string, string>;

/** One of bench/cases.ts by this engine, in a process of its own. */
export function runOwn(name: string, model: string, options: MeasureOptions, env?: Environment): CaseResult {
  const { device, threads, size, batch, runs, weights } = options;
  const script = fileURLToPath(new URL('./measure.js', import.meta.url));
  const wanted = JSON.stringify({ device, threads, size, batch, runs, weights });
  return spawnForJson(process.execPath, [script, name, model, wanted], env);
}

export interface TorchOptions extends Omit<MeasureOptions, 'device'> {
  channelsLast?: boolean;
}

/**
 * For programs that take and give back large blocks at every op, as torch and ggml do: glibc takes them of its heap,
 * never by mmap, and keeps them. Ours works in one arena, and where a page of new memory is dear (virtual machines) they
 * would be timed at asking for memory: torch's decoding took 60 s without this and 7.5 with it. (A threshold for mmap
 * does not do: glibc's highest is 32 MiB, and a picture's activations are larger.)
 */
export const KEEPS_MEMORY = {
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: String(2 ** 34),
  MALLOC_TOP_PAD_: String(2 ** 28),
};

/** The case of the same name by torch, likewise. @param python one that has torch, diffusers and transformers. */
export function runTorch(
  python: string,
  name: string,
  model: string,
  { threads, size, batch, runs, channelsLast }: TorchOptions,
  env?: Environment,
): CaseResult {
  const script = join(ROOT, 'bench/torch_reference.py');
  const sizes = { cases: name, runs, size, batch, ...(threads ? { threads } : {}) };
  const flags = Object.entries(sizes).flatMap(([flag, value]) => [`--${flag}`, String(value)]);
  const layout = channelsLast ? ['--channels-last'] : [];
  const args = [script, model, ...flags, ...layout];
  return spawnForJson<{ cases: CaseResult[] }>(python, args, { ...KEEPS_MEMORY, ...env }).cases[0]!;
}

/** What a program prints. @throws Error where it fails. */
export function spawnForJson<T>(program: string, args: string[], env: Environment = {}): T {
  const { status, stdout } = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed`);
  return JSON.parse(stdout) as T;
}
