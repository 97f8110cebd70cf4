import type { OpName } from './ops.ts';

/** Element type of a tensor in the arena: float32, or int32 for token ids. */
export type DType = 'f32' | 'i32';

/** A tensor at a byte offset of the plan's arena; dense, row-major, its first byte 64-byte aligned. */
export interface TensorRef {
  dtype: DType;
  shape: number[];
  offset: number;
}

export interface NamedTensor extends TensorRef {
  name: string;
}

/**
 * A parameter of an op: one checkpoint tensor, or several joined along their first dimension (packed q, k, v).
 * `shape` is that of the whole. Trailing dimensions of 1 in the checkpoint are equal to none.
 */
export interface WeightRef {
  names: string[];
  shape: number[];
}

export type Attr = number | boolean | string | number[];

/** One op, bound to arena offsets and weight names. */
export interface PlanOp {
  op: OpName;
  /** Where in the model: the checkpoint's own module path, `down_blocks.0.resnets.0.conv1`. */
  scope: string;
  inputs: Record<string, TensorRef>;
  weights: Record<string, WeightRef>;
  attrs: Record<string, Attr>;
  output: TensorRef;
}

/** A model traced for one shape: a flat list of ops over one arena. Plain JSON. */
export interface Plan {
  version: 1;
  name: string;
  arenaBytes: number;
  inputs: NamedTensor[];
  outputs: NamedTensor[];
  ops: PlanOp[];
}
