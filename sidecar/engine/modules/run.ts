import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Part } from '../../checkpoints/keys.ts';
import { openModel } from '../../checkpoints/model.ts';
import type { HostTensor } from '../../checkpoints/safetensors.ts';
import type { Plan } from '../../graph/plan.ts';
import { openComponent, openPart } from '../../models/components.ts';
import type { InputValue, NativeDevice, NativeTensor, NativeWeights } from '../../native.ts';

export type Tensors = Map<string, HostTensor>;

/** Runs one component of a model: named tensors in, named tensors out, [B,C,H,W] or [B,T,C]. */
export type Module = (
  device: NativeDevice,
  path: string,
  inputs: Tensors,
  options?: ModuleOptions,
) => Promise<Tensors>;

/** What some components take besides tensors. */
export interface ModuleOptions {
  /** The folder of a ControlNet. */
  controlnet?: string;
  /** Factor of its residuals; default 1. */
  scale?: number;
  guessMode?: boolean;
}

/**
 * Opens a part of a model, or a folder that is the part itself: config.json beside its weights.
 * @throws CheckpointError naming file and field or tensor.
 */
export async function openOne<P extends Part>(path: string, part: P) {
  return (await isPart(path)) ? openPart(path, part) : openComponent(await openModel(path), part);
}

/** Whether a folder is a component, and not a model of several. */
export async function isPart(path: string): Promise<boolean> {
  const has = async (file: string) =>
    (await stat(join(path, file)).catch(() => undefined))?.isFile() ?? false;
  return (await has('config.json')) && !(await has('model_index.json'));
}

export async function withWeights<T>(
  device: NativeDevice,
  sources: Parameters<NativeDevice['loadWeights']>[0],
  use: (weights: NativeWeights) => Promise<T>,
): Promise<T> {
  const weights = await device.loadWeights(sources);
  try {
    return await use(weights);
  } finally {
    await weights.dispose();
  }
}

/** Runs a plan; of its outputs those in `keep` stay on the device. */
export async function once(
  device: NativeDevice,
  weights: NativeWeights,
  plan: Plan,
  inputs: Record<string, InputValue>,
  keep?: string[],
): Promise<Record<string, Float32Array | NativeTensor>> {
  const program = await device.compile(plan, weights);
  try {
    return await program.run(inputs, { keep });
  } finally {
    await program.dispose();
  }
}

/** Runs a plan with a component's weights, and gives its outputs with their shapes. */
export async function evaluate(
  device: NativeDevice,
  sources: Parameters<NativeDevice['loadWeights']>[0],
  plan: Plan,
  inputs: Record<string, InputValue>,
): Promise<Tensors> {
  const out = await withWeights(device, sources, (weights) => once(device, weights, plan, inputs));
  return new Map(plan.outputs.map(({ name, shape }) => [name, { shape, data: out[name] as Float32Array }]));
}

/** The tensor of that name; numbers in `shape` are sizes it must have, letters stand for any. */
export function tensor(inputs: Tensors, name: string, shape: (string | number)[]): HostTensor {
  const found = inputs.get(name) ?? missing(inputs, name);
  const fits =
    found.shape.length === shape.length &&
    found.shape.every((n, i) => n > 0 && (typeof shape[i] === 'string' || n === shape[i]));
  if (!fits)
    throw new Error(`Expected [${shape.join(', ')}] for ${name} but received [${found.shape.join(', ')}]`);
  return found;
}

/** Pictures or latents [B,C,h,w]. */
export function pixels(inputs: Tensors, name: string, channels: number) {
  const found = tensor(inputs, name, ['B', channels, 'h', 'w']);
  const [batch, , height, width] = found.shape as [number, number, number, number];
  return { data: floats(found), batch, height, width };
}

/** `timestep`: one for each of the batch, or one for all. */
export function timesteps(inputs: Tensors, batch: number): Float32Array {
  const times = inputs.get('timestep')?.data ?? missing(inputs, 'timestep');
  if (times.length !== batch && times.length !== 1)
    throw new Error(`Expected ${batch} numbers or one for timestep but received ${times.length}`);
  return Float32Array.from({ length: batch }, (_, i) => times[times.length === 1 ? 0 : i]!);
}

export function floats({ data }: HostTensor): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

function missing(inputs: Tensors, name: string): never {
  throw new Error(`Expected a tensor ${name} but received ${[...inputs.keys()].join(', ') || 'none'}`);
}
