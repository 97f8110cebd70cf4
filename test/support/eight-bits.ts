import type { WeightSource } from '../../sidecar/native.ts';
import { readTensors } from './safetensors.ts';

/** To nearest, ties to even: below 2²² a float of this size has no room for a fraction. */
const nearest = (x: number) => Math.fround(x + 1.5 * 2 ** 23) - 1.5 * 2 ** 23;

/** What is left of numbers in 8 bits, with a scale for each `size` of them: as the addon rounds, in float32. */
export function inEightBits(data: Float32Array, size: number): Float32Array {
  const left = new Float32Array(data.length);
  for (let begin = 0; begin < data.length; begin += size) {
    let most = 0;
    for (let i = begin; i < begin + size; i++) most = Math.max(most, Math.abs(data[i]!));
    const scale = Math.fround(most / 127);
    const inverse = Math.fround(1 / scale);
    for (let i = begin; i < begin + size && scale > 0; i++)
      left[i] = scale * nearest(Math.fround(data[i]! * inverse));
  }
  return left;
}

/** Sources with those that are kept in 8 bits as floats in memory, rounded with one scale for each tensor. */
export function byTensor(sources: readonly WeightSource[]): WeightSource[] {
  const files = new Map<string, ReturnType<typeof readTensors>>();
  return sources.map((source) => {
    if (!source.int8 || !('file' in source)) return source;
    const { name, shape, file } = source;
    if (!files.has(file)) files.set(file, readTensors(file));
    const data = Float32Array.from(files.get(file)![name]!.data);
    return { name, shape, dtype: 'F32', data: inEightBits(data, data.length) };
  });
}
