import type { OpName } from '../../sidecar/graph/ops.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import type { NativeDevice } from '../../sidecar/native.ts';
import { relativeL2 } from './compare.ts';
import { rounded, type Storage } from './half.ts';
import type { RunnableCase } from './op-cases.ts';

export type Values = ReturnType<RunnableCase['draw']>;

/** Inputs that a GPU keeps as they are, whatever its storage. */
const EXACT = ['ids', 't', 'scale'];

export async function runOp(device: NativeDevice, plan: Plan, { weights, inputs }: Values, times = 1) {
  const loaded = await device.loadWeights(weights);
  const program = await device.compile(plan, loaded);
  const outputs: Float32Array[] = [];
  for (let i = 0; i < times; i++) outputs.push((await program.run(inputs)).y as Float32Array);
  await program.dispose();
  await loaded.dispose();
  return outputs;
}

/** What the reference gives with inputs, weights and output rounded: naive16 of docs/numerics.md. */
export async function naive(reference: NativeDevice, plan: Plan, values: Values, storage: Storage) {
  const round = (data: Float32Array) => rounded(data, storage);
  const inputs = Object.fromEntries(
    Object.entries(values.inputs).map(([name, data]) => [
      name,
      data instanceof Float32Array && !EXACT.includes(name) ? round(data) : data,
    ]),
  );
  const weights = values.weights.map((w) => ('data' in w ? { ...w, data: round(w.data) } : w));
  const [y] = await runOp(reference, plan, { inputs, weights });
  return round(y!);
}

/** Absolute slack: results near 0, where rounding of what they are sums of shows. */
const ATOL = { f16: 1e-4, bf16: 1e-3 };

/** Relative L2 error of float32 storage: thousands of terms are added up one after another. */
const RELATIVE_F32 = 5e-6;

/**
 * How far `actual` is from where |actual − exact| ≤ 2·|naive − exact| + atol puts it, in the largest element and in
 * the mean square, or in float32 from its bound: at most 1 is within.
 */
export function excess(actual: Float32Array, exact: Float32Array, naive16: Float32Array, storage: Storage) {
  if (storage === 'f32') return relativeL2(actual, exact) / RELATIVE_F32;
  const atol = ATOL[storage];
  let [worst, worstNaive, sum, sumNaive] = [0, 0, 0, 0];
  for (let i = 0; i < exact.length; i++) {
    const [a, b] = [Math.abs(actual[i]! - exact[i]!), Math.abs(naive16[i]! - exact[i]!)];
    if (!Number.isFinite(a)) return Number.NaN;
    worst = Math.max(worst, a);
    worstNaive = Math.max(worstNaive, b);
    sum += a * a;
    sumNaive += b * b;
  }
  const rms = (s: number) => Math.sqrt(s / exact.length);
  return Math.max(worst / (2 * worstNaive + atol), rms(sum) / (2 * rms(sumNaive) + atol));
}

/** Ops that have no GPU kernel yet. */
export const PENDING: OpName[] = ['attention'];
