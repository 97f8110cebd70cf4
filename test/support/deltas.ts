import type { DeltaFactor, WeightDelta, WeightSource } from '../../sidecar/native.ts';

// Adapters' deltas in memory, and plain loops in double precision that merge them.

export type InMemory = Extract<WeightSource, { data: Float32Array }>;
export type FactorInMemory = { whole: InMemory } | { up: InMemory; down: InMemory; mid?: InMemory };
export type DeltaInMemory = WeightDelta & { factors: FactorInMemory[] };

const size = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

/** Values between −1 and 1 that differ everywhere and with the name. */
export function wave(name: string, shape: number[]): InMemory {
  const seed = [...name].reduce((sum, c) => sum + c.charCodeAt(0), 0);
  const data = Float32Array.from({ length: size(shape) }, (_, i) => Math.sin(i * 1.7 + seed));
  return { name, dtype: 'F32', shape, data };
}

/** The weight with all deltas added. */
export function merge(weight: InMemory, deltas: DeltaInMemory[]): InMemory {
  const sum = Float64Array.from(weight.data);
  for (const delta of deltas.filter((each) => each.weight === weight.name)) {
    const [first, second] = delta.factors.map(evaluate) as [Matrix, Matrix | undefined];
    const values = combine(delta.combine, first, second);
    for (let i = 0; i < sum.length; i++) sum[i]! += delta.scale * values[i]!;
  }
  return { ...weight, data: Float32Array.from(sum) };
}

/** [rows, columns, taps] */
interface Matrix {
  shape: [rows: number, columns: number, taps: number];
  at: (row: number, column: number, tap: number) => number;
}

function evaluate(factor: DeltaFactor): Matrix {
  if ('whole' in factor) return matrix(factor.whole as InMemory);
  const [up, down] = [matrix(factor.up as InMemory), matrix(factor.down as InMemory)];
  const rows = up.shape[0];
  if (!factor.mid) {
    const [rank, columns, taps] = down.shape;
    return {
      shape: [rows, columns, taps],
      at: (row, column, tap) => sum(rank, (k) => up.at(row, k, 0) * down.at(k, column, tap)),
    };
  }
  const mid = matrix(factor.mid as InMemory);
  const [r, s, taps] = mid.shape;
  return {
    shape: [rows, down.shape[1], taps],
    at: (row, column, tap) =>
      sum(r, (k) => up.at(row, k, 0) * sum(s, (l) => mid.at(k, l, tap) * down.at(l, column, 0))),
  };
}

function matrix({ shape, data, transposed }: InMemory): Matrix {
  const [rows, columns = 1, ...rest] = shape as [number, number?, ...number[]];
  const taps = size(rest);
  return {
    shape: [rows, columns, taps],
    at: (row, column, tap) => data[transposed ? column * rows + row : (row * columns + column) * taps + tap]!,
  };
}

function combine(how: WeightDelta['combine'], a: Matrix, b: Matrix | undefined): number[] {
  if (!b) return flat(a);
  if (how === 'hadamard') {
    const others = flat(b);
    return flat(a).map((value, i) => value * others[i]!);
  }
  const [n, m, taps] = b.shape;
  return flat({
    shape: [a.shape[0] * n, a.shape[1] * m, taps],
    at: (row, column, tap) =>
      a.at(Math.floor(row / n), Math.floor(column / m), 0) * b.at(row % n, column % m, tap),
  });
}

function flat({ shape: [rows, columns, taps], at }: Matrix): number[] {
  return Array.from({ length: rows * columns * taps }, (_, i) =>
    at(Math.floor(i / (columns * taps)), Math.floor(i / taps) % columns, i % taps),
  );
}

const sum = (n: number, term: (k: number) => number) =>
  Array.from({ length: n }, (_, k) => term(k)).reduce((a, b) => a + b, 0);
