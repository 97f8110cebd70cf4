import type { Graph, Tensor } from './builder.ts';
import { type OpName, ops } from './ops.ts';
import type { Plan, PlanOp, TensorRef } from './plan.ts';
import { elements, match } from './signature.ts';

/** Every tensor of an arena begins at a multiple of this many bytes. */
export const ALIGNMENT = 64;

/** Bytes that are live from op `first` to op `last`, both included. −1: before the first op. */
export interface Lifetime {
  bytes: number;
  first: number;
  last: number;
}

/**
 * Offsets such that no two buffers that are live at once overlap: largest first, each at the lowest gap that
 * fits (arXiv:2001.03288, "greedy by size").
 * @returns offsets in the order of `buffers`, and the bytes of the whole.
 */
export function pack(buffers: readonly Lifetime[]): { offsets: number[]; bytes: number } {
  const offsets = new Array<number>(buffers.length).fill(0);
  const order = buffers.map((_, i) => i).sort((a, b) => buffers[b]!.bytes - buffers[a]!.bytes || a - b);
  const placed: number[] = [];
  let bytes = 0;
  for (const i of order) {
    const buffer = buffers[i]!;
    let offset = 0;
    // `placed` is kept by offset, so the first gap seen is the lowest.
    for (const j of placed) {
      const other = buffers[j]!;
      if (other.last < buffer.first || buffer.last < other.first) continue;
      if (offsets[j]! - offset >= buffer.bytes) break;
      offset = Math.max(offset, offsets[j]! + other.bytes);
    }
    offsets[i] = offset;
    bytes = Math.max(bytes, offset + buffer.bytes);
    const at = placed.findIndex((j) => offsets[j]! > offset);
    placed.splice(at < 0 ? placed.length : at, 0, i);
  }
  return { offsets, bytes };
}

/** When each buffer is written first and read last, by tensor id; outputs of the graph live to the end. */
export function lifetimes(graph: Graph): Map<number, Lifetime> {
  const live = new Map<number, Lifetime>();
  const born = (tensor: Tensor, first: number) =>
    live.set(tensor.id, { bytes: align(4 * elements(tensor.shape)), first, last: first });
  for (const tensor of graph.inputs.values()) born(tensor, -1);
  graph.nodes.forEach((node, i) => {
    for (const tensor of Object.values(node.inputs)) live.get(tensor.id)!.last = i;
    born(node.output, i);
  });
  for (const tensor of graph.outputs.values()) live.get(tensor.id)!.last = graph.nodes.length;
  return live;
}

/** Binds a traced model to one arena. Plain JSON comes out: what the addon compiles. */
export function plan(graph: Graph): Plan {
  const live = [...lifetimes(graph)];
  const packed = pack(live.map(([, lifetime]) => lifetime));
  const offsets = new Map(live.map(([id], i) => [id, packed.offsets[i]!]));
  const ref = ({ id, dtype, shape }: Tensor): TensorRef => ({
    dtype,
    shape: [...shape],
    offset: offsets.get(id)!,
  });
  const named = (tensors: Map<string, Tensor>) =>
    [...tensors].map(([name, tensor]) => ({ name, ...ref(tensor) }));
  return {
    version: 1,
    name: graph.name,
    arenaBytes: packed.bytes,
    inputs: named(graph.inputs),
    outputs: named(graph.outputs),
    ops: graph.nodes.map(({ op, scope, inputs, weights, attrs, output }) => ({
      op,
      scope,
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, ref(tensor)])),
      weights,
      attrs,
      output: ref(output),
    })),
  };
}

/** Floating-point operations (2 for a multiply-add) and bytes read and written, each tensor once. */
export function cost({ op, inputs, weights, attrs, output }: PlanOp): { flops: number; bytes: number } {
  const { sizes } = match(ops[op as OpName], { ...inputs, ...weights }, attrs);
  const tensors = [...Object.values(inputs), ...Object.values(weights), output];
  return {
    flops: ops[op as OpName].flops?.(sizes, output.shape) ?? 0,
    bytes: tensors.reduce((sum, { shape }) => sum + 4 * elements(shape), 0),
  };
}

/** Floating-point operations of one run of a plan. */
export function planFlops(plan: Plan): number {
  return plan.ops.reduce((sum, op) => sum + cost(op).flops, 0);
}

/** A plan as text, one line an op: `conv2d [2,64,64,320] ← x [2,64,64,4] … @arena+0x1000 conv_in`. */
export function formatPlan(plan: Plan): string {
  const shape = (ref: TensorRef) => `[${ref.shape.join(',')}]`;
  const at = (ref: TensorRef) => `@arena+0x${ref.offset.toString(16)}`;
  const border = (kind: string) => (tensor: { name: string } & TensorRef) =>
    `${kind} ${shape(tensor)} ${tensor.dtype} ${at(tensor)} ${tensor.name}`;
  const line = ({ op, scope, inputs, weights, attrs, output }: PlanOp) => {
    const from = Object.entries(inputs).map(([name, ref]) => `${name} ${shape(ref)} ${at(ref)}`);
    const by = Object.entries(weights).map(([name, ref]) => `${name} [${ref.shape.join(',')}]`);
    const how = Object.entries(attrs).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    return `${op} ${shape(output)} ${at(output)} ← ${[...from, ...by, ...how].join(' ')} ${scope}`;
  };
  return [
    `plan ${plan.name}, ${plan.ops.length} ops, arena ${plan.arenaBytes} bytes`,
    ...plan.inputs.map(border('input')),
    ...plan.ops.map(line),
    ...plan.outputs.map(border('output')),
    '',
  ].join('\n');
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
