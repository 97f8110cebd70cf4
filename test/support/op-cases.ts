import { Graph, joined, type Tensor } from '../../sidecar/graph/builder.ts';
import { expandCase, type OpCase, type OpName, ops } from '../../sidecar/graph/ops.ts';
import type { Plan, WeightRef } from '../../sidecar/graph/plan.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { elements } from '../../sidecar/graph/signature.ts';
import type { WeightSource } from '../../sidecar/native.ts';

/** A case of the op table as a plan of one op, with values to run it on. Same case, same values. */
export interface RunnableCase {
  title: string;
  plan: Plan;
  weights: WeightSource[];
  inputs: Record<string, Float32Array | Int32Array>;
}

/** All cases of the op table. */
export function opCases(): { op: OpName; cases: RunnableCase[] }[] {
  return (Object.keys(ops) as OpName[]).map((op) => ({
    op,
    cases: ops[op].cases.map((c) => runnable(op, c)),
  }));
}

function runnable(op: OpName, opCase: OpCase): RunnableCase {
  const { inputs: shapes, weights: weightShapes, attrs } = expandCase(op, opCase);
  const random = generator(JSON.stringify([op, opCase]));
  const g = new Graph(op);
  const tensors: Record<string, Tensor> = {};
  const inputs: RunnableCase['inputs'] = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const ids = name === 'ids';
    tensors[name] = g.input(name, shape, ids ? 'i32' : 'f32');
    inputs[name] = ids
      ? Int32Array.from({ length: elements(shape) }, () => Math.floor(random() * weightShapes.weight![0]!))
      : Float32Array.from({ length: elements(shape) }, () =>
          name === 't' ? 999 * random() : normal(random),
        );
  }
  const weights: WeightSource[] = [];
  const refs: Record<string, WeightRef> = {};
  for (const [name, shape] of Object.entries(weightShapes)) {
    // A fan-in scaled matrix keeps outputs near 1; a norm's weight is near 1 itself.
    const fan = shape.length > 1 && op !== 'embedding' ? elements(shape) / shape[0]! : 1;
    const shift = op.endsWith('norm') && name === 'weight' ? 1 : 0;
    // Weights come in three where their rows allow it, as packed q, k and v do.
    const rows = shape[0]! % 3 === 0 ? [shape[0]! / 3, shape[0]! / 3, shape[0]! / 3] : [shape[0]!];
    const parts = rows.map((n, i) => {
      const part = [n, ...shape.slice(1)];
      const data = Float32Array.from(
        { length: elements(part) },
        () => shift + normal(random) / Math.sqrt(fan),
      );
      weights.push({ name: `${name}.${i}`, dtype: 'F32', shape: part, data });
      return g.param(`${name}.${i}`, part);
    });
    refs[name] = joined(parts);
  }
  g.output('y', g.op(op, `test.${op}`, tensors, refs, attrs));
  const sizes = Object.entries({ ...shapes, ...weightShapes }).map(([name, shape]) => `${name} [${shape}]`);
  const how = Object.entries(attrs).map(([name, value]) => `${name}=${value}`);
  return { title: [...sizes, ...how].join(' '), plan: plan(g), weights, inputs };
}

/** Uniform in 0…1; the same for the same seed (mulberry32). */
function generator(seed: string): () => number {
  let state = [...seed].reduce((hash, c) => Math.imul(hash ^ c.charCodeAt(0), 16777619), 2166136261);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Box–Muller. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
