import { Graph, joined, type Tensor } from '../graph/builder.ts';
import { expandCase, type OpCase, type OpName, ops } from '../graph/ops.ts';
import type { Plan, WeightRef } from '../graph/plan.ts';
import { plan } from '../graph/planner.ts';
import { elements } from '../graph/signature.ts';
import type { WeightSource } from '../native.ts';

/** A case of the op table as a plan of one op. */
export interface RunnableCase {
  title: string;
  plan: Plan;
  /** Values to run it on: the same at every call. */
  draw: () => { weights: WeightSource[]; inputs: Record<string, Float32Array | Int32Array> };
}

/** All cases of the op table. */
export function opCases(): { op: OpName; cases: RunnableCase[] }[] {
  return (Object.keys(ops) as OpName[]).map((op) => ({
    op,
    cases: ops[op].cases.map((c) => runnable(op, c)),
  }));
}

type Shapes = Record<string, number[]>;

/** A case as a plan of one op. */
export function runnable(op: OpName, opCase: OpCase): RunnableCase {
  const { inputs, weights, attrs } = expandCase(op, opCase);
  const g = new Graph(op);
  const tensors = Object.entries(inputs).map(([name, shape]): [string, Tensor] => [
    name,
    g.input(name, shape, name === 'ids' ? 'i32' : 'f32'),
  ]);
  const refs = Object.entries(weights).map(([name, shape]): [string, WeightRef] => [
    name,
    joined(partsOf(shape).map((part, i) => g.param(`${name}.${i}`, part))),
  ]);
  g.output('y', g.op(op, `test.${op}`, Object.fromEntries(tensors), Object.fromEntries(refs), attrs));
  const sizes = Object.entries({ ...inputs, ...weights }).map(([name, shape]) => `${name} [${shape}]`);
  const how = Object.entries(attrs).map(([name, value]) => `${name}=${value}`);
  const seed = JSON.stringify([op, opCase]);
  return { title: [...sizes, ...how].join(' '), plan: plan(g), draw: () => draw(op, inputs, weights, seed) };
}

/** Weights come in three where their rows allow it, as packed q, k and v do. */
function partsOf([rows, ...rest]: number[]): number[][] {
  return rows! % 3 === 0 ? Array.from({ length: 3 }, () => [rows! / 3, ...rest]) : [[rows!, ...rest]];
}

function draw(op: OpName, inputShapes: Shapes, weightShapes: Shapes, seed: string) {
  const random = generator(seed);
  const inputs: Record<string, Float32Array | Int32Array> = {};
  for (const [name, shape] of Object.entries(inputShapes)) {
    const length = elements(shape);
    const vocabulary = (weightShapes.weight?.[0] ?? 0) + (inputShapes.learned?.[0] ?? 0);
    if (name === 'ids') inputs[name] = Int32Array.from({ length }, () => Math.floor(random() * vocabulary));
    else inputs[name] = Float32Array.from({ length }, () => (name === 't' ? 999 * random() : normal(random)));
  }
  const weights = Object.entries(weightShapes).flatMap(([name, whole]) =>
    partsOf(whole).map((shape, i): WeightSource => {
      // A fan-in scaled matrix keeps outputs near 1; a norm's weight is near 1 itself.
      const fan = shape.length > 1 && op !== 'embedding' ? elements(shape) / shape[0]! : 1;
      const shift = op.endsWith('norm') && name === 'weight' ? 1 : 0;
      const value = () => shift + normal(random) / Math.sqrt(fan);
      return {
        name: `${name}.${i}`,
        dtype: 'F32',
        shape,
        data: Float32Array.from({ length: elements(shape) }, value),
      };
    }),
  );
  return { inputs, weights };
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
