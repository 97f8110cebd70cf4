import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KEEPS_MEMORY } from '../programs.ts';

/** One call of stable-diffusion.cpp's command line. */
export interface SdcppRun {
  model: string;
  threads: number;
  size: number;
  steps: number;
  /** 1: one U-Net evaluation a step; else two. */
  guidance: number;
  controlNet?: { weights: string; hint: string };
}

/** Seconds, as it reports them itself. */
export interface SdcppTimes {
  text: number;
  sampling: number;
  decode: number;
}

/**
 * Which version it is, and what it says that it was built for.
 * @throws Error where it does not say so.
 */
export function sdcppBuild(binary: string): string {
  // It says so before it finds that there is no such model.
  const args = ['--verbose', '--prompt', '', '--model', join(tmpdir(), 'latent-edge-no-such-model')];
  const { error, signal, stdout, stderr } = spawnSync(binary, args, { encoding: 'utf8', timeout: 60_000 });
  if (error) throw error;
  if (signal) throw new Error(`${binary} ${args.join(' ')} was ended by ${signal}:\n${stderr}`);
  return buildOf(stdout + stderr);
}

/** Of its log. @throws Error where it is not there. */
export function buildOf(log: string): string {
  const version = /stable-diffusion\.cpp version ([^\s,]+)/.exec(log)?.[1];
  const system = log.split('System Info:')[1] ?? '';
  const features = [...system.matchAll(/\b([A-Z][A-Z0-9_]+) = 1 +\|/g)].map((found) => found[1]);
  if (!version || features.length === 0)
    throw new Error(`Expected "stable-diffusion.cpp version …" and "AVX = 1 | …" of it:\n${log}`);
  return `${version}: ${features.join(', ')}`;
}

/** @throws Error where it fails, or says other things than it used to. */
export function runSdcpp(binary: string, run: SdcppRun): SdcppTimes {
  const flags: Record<string, string | number> = {
    '--model': run.model,
    '--threads': run.threads,
    '--width': run.size,
    '--height': run.size,
    '--steps': run.steps,
    '--cfg-scale': run.guidance,
    '--sampling-method': 'euler',
    '--prompt': 'a lighthouse at dusk',
    '--seed': 1,
    '--output': join(tmpdir(), `latent-edge-sdcpp-${process.pid}.png`),
    ...(run.controlNet && {
      '--control-net': run.controlNet.weights,
      '--control-image': run.controlNet.hint,
    }),
  };
  const args = [
    '--diffusion-fa',
    '--eager-load',
    ...Object.entries(flags).flatMap(([flag, value]) => [flag, String(value)]),
  ];
  const env = { ...process.env, ...KEEPS_MEMORY };
  const { status, stdout, stderr } = spawnSync(binary, args, { encoding: 'utf8', env, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${binary} ${args.join(' ')} failed:\n${stderr}`);
  return timesOf(stdout + stderr);
}

/** Of its log. @throws Error where one is not there. */
export function timesOf(log: string): SdcppTimes {
  const seconds = (stage: string) => {
    const found = new RegExp(`${stage} completed, taking ([\\d.]+) ?(ms|s)`).exec(log);
    if (!found) throw new Error(`Expected "${stage} completed, taking …" of stable-diffusion.cpp:\n${log}`);
    return Number(found[1]) / (found[2] === 'ms' ? 1000 : 1);
  };
  return {
    text: seconds('get_learned_condition'),
    sampling: seconds('sampling'),
    decode: seconds('decode_first_stage'),
  };
}
