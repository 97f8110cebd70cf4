import type { NamedTensor, Plan, PlanOp, TensorRef } from '../../sidecar/graph/plan.ts';
import type { WeightSource } from '../../sidecar/native.ts';

/** A float32 tensor of the arena. */
export const f32 = (shape: number[], offset: number): TensorRef => ({ dtype: 'f32', shape, offset });

/** Bytes that a float32 tensor takes in an arena. */
export const arenaBytes = (shape: number[]): number => Math.ceil(shape.reduce((a, b) => a * b, 4) / 64) * 64;

/** y = x·Wᵀ + b `depth` times over: x [rows, width] → y [rows, width]; weights `layer.0.weight`, `layer.0.bias`, … */
export function linearChain(rows: number, width: number, depth = 1, name = 'chain'): Plan {
  const bytes = arenaBytes([rows, width]);
  const at = (i: number) => f32([rows, width], (i % 2) * bytes);
  const ops = Array.from(
    { length: depth },
    (_, i): PlanOp => ({
      op: 'linear',
      scope: `layer.${i}`,
      inputs: { x: at(i) },
      weights: {
        weight: { names: [`layer.${i}.weight`], shape: [width, width] },
        bias: { names: [`layer.${i}.bias`], shape: [width] },
      },
      attrs: { activation: 'none' },
      output: at(i + 1),
    }),
  );
  const named = (name: string, ref: TensorRef): NamedTensor => ({ name, ...ref });
  return {
    version: 1,
    name,
    arenaBytes: 2 * bytes,
    inputs: [named('x', at(0))],
    outputs: [named('y', at(depth))],
    ops,
  };
}

/** Weights of `linearChain` that multiply by `factor` and add `bias`. */
export function scaling(width: number, depth = 1, factor = 2, bias = 1): WeightSource[] {
  const weight = new Float32Array(width * width);
  for (let i = 0; i < width; i++) weight[i * width + i] = factor;
  return Array.from({ length: depth }, (_, i): WeightSource[] => [
    { name: `layer.${i}.weight`, dtype: 'F32', shape: [width, width], data: weight },
    { name: `layer.${i}.bias`, dtype: 'F32', shape: [width], data: new Float32Array(width).fill(bias) },
  ]).flat();
}
