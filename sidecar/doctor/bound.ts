import type { Plan } from '../graph/plan.ts';
import type { NativeDevice, Precision } from '../native.ts';
import type { RunnableCase } from './cases.ts';
import { rounded } from './half.ts';

export type Values = ReturnType<RunnableCase['draw']>;

/** Inputs that a GPU keeps as they are, whatever it computes in. */
const EXACT = ['ids', 't', 'scale'];

/** Absolute slack: results near 0, where rounding of what they are sums of shows. */
const ATOL = { f16: 1e-4, bf16: 1e-3 };

/** Relative L2 error in float32: thousands of terms are added up one after another. */
const RELATIVE_F32 = 5e-6;

/** The outputs of an op's plan, run so many times. */
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
export async function naive(reference: NativeDevice, plan: Plan, values: Values, precision: Precision) {
  const round = (data: Float32Array) => rounded(data, precision);
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

/**
 * How far `actual` is from where |actual − exact| ≤ 2·|naive − exact| + atol puts it, in the largest element and in
 * the mean square; in float32, from a bound on the relative error. At most 1 is within; NaN is not.
 */
export function excess(
  actual: Float32Array,
  exact: Float32Array,
  naive16: Float32Array,
  precision: Precision,
): number {
  let [worst, worstNaive, sum, sumNaive, norm] = [0, 0, 0, 0, 0];
  for (let i = 0; i < exact.length; i++) {
    const [a, b] = [Math.abs(actual[i]! - exact[i]!), Math.abs(naive16[i]! - exact[i]!)];
    if (!Number.isFinite(a)) return Number.NaN;
    worst = Math.max(worst, a);
    worstNaive = Math.max(worstNaive, b);
    sum += a * a;
    sumNaive += b * b;
    norm += exact[i]! ** 2;
  }
  if (precision === 'f32') return Math.sqrt(sum / norm) / RELATIVE_F32;
  const [atol, rms] = [ATOL[precision], (s: number) => Math.sqrt(s / exact.length)];
  return Math.max(worst / (2 * worstNaive + atol), rms(sum) / (2 * rms(sumNaive) + atol));
}
