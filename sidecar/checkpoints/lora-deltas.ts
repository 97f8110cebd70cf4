import type { DeltaFactor, WeightDelta, WeightSource } from '../native.ts';
import { CheckpointError } from './error.ts';
import type { TensorEntry } from './header.ts';
import type { Role } from './lora-keys.ts';

/** The tensors that change one module of a model. */
export interface AdapterModule {
  /** Its path as the file has it. */
  name: string;
  /** The key of its first tensor that is more than a number, for messages. */
  key: string;
  file: string;
  tensors: Map<Role, TensorEntry>;
}

export interface ModuleDelta extends Pick<WeightDelta, 'factors' | 'combine'> {
  leaf: 'weight' | 'bias';
  /** What alpha is divided by; differences as they are have none. */
  rank?: number;
}

/**
 * What a module's tensors add to its weight and bias: LoRA, LoHa, LoKr, and differences as they are.
 * @param shapeOf the shape of the module's weight or bias; it throws where there is none.
 * @throws CheckpointError naming what is missing, of an unknown kind or of another shape.
 */
export function moduleDeltas(
  module: AdapterModule,
  shapeOf: (leaf: 'weight' | 'bias') => readonly number[],
): ModuleDelta[] {
  const { tensors } = module;
  if (tensors.has('magnitude')) throw fail(module, 'Expected no DoRA, which is not supported,', module.key);
  const has = (start: string) => [...tensors.keys()].some((role) => role.startsWith(start));
  const deltas = [
    ...(['up', 'down', 'mid'].some(has) ? [lora(module, shapeOf('weight'))] : []),
    ...(has('hada_') ? [loha(module, shapeOf('weight'))] : []),
    ...(has('lokr_') ? [lokr(module, shapeOf('weight'))] : []),
    ...(tensors.has('diff') ? [difference(module, 'diff', 'weight')] : []),
    ...(tensors.has('diff_b') ? [difference(module, 'diff_b', 'bias')] : []),
  ];
  if (deltas.length === 0) throw fail(module, 'Expected tensors of an adapter beside', module.key);
  for (const delta of deltas) checkShape(module, delta, shapeOf(delta.leaf));
  return deltas;
}

function lora(module: AdapterModule, weight: readonly number[]): ModuleDelta {
  const [up, down] = [source(module, 'up'), source(module, 'down')];
  const mid = module.tensors.has('mid') ? source(module, 'mid') : undefined;
  const factor = mid ? { up, mid, down } : { up, down: unflattened(down, weight) };
  return { leaf: 'weight', factors: [factor], rank: down.shape[0] };
}

function loha(module: AdapterModule, weight: readonly number[]): ModuleDelta {
  const tucker = module.tensors.has('hada_t1') || module.tensors.has('hada_t2');
  const factor = (i: 1 | 2) =>
    product(module, weight, `hada_w${i}_a`, `hada_w${i}_b`, tucker ? `hada_t${i}` : undefined);
  const factors = [factor(1), factor(2)];
  return { leaf: 'weight', factors, combine: 'hadamard', rank: factors[0]!.down.shape[0] };
}

function lokr(module: AdapterModule, weight: readonly number[]): ModuleDelta {
  const { tensors } = module;
  const factor = (i: 1 | 2, tucker: Role | undefined) =>
    tensors.has(`lokr_w${i}`)
      ? { whole: source(module, `lokr_w${i}`) }
      : product(module, i === 2 ? weight : [], `lokr_w${i}_a`, `lokr_w${i}_b`, tucker);
  const factors: DeltaFactor[] = [
    factor(1, undefined),
    factor(2, tensors.has('lokr_t2') ? 'lokr_t2' : undefined),
  ];
  // Where neither is a product there is no rank, and alpha means nothing.
  const ranks = factors.flatMap((each) => ('down' in each ? [each.down.shape[0]!] : []));
  return { leaf: 'weight', factors, combine: 'kronecker', rank: ranks[0] };
}

function difference(module: AdapterModule, role: Role, leaf: 'weight' | 'bias'): ModuleDelta {
  return { leaf, factors: [{ whole: source(module, role) }] };
}

/** a·b of LyCORIS; with a middle tensor a is on its side. */
function product(module: AdapterModule, weight: readonly number[], a: Role, b: Role, middle?: Role) {
  const [up, down] = [source(module, a), source(module, b)];
  if (!middle) return { up, down: unflattened(down, weight) };
  const [rank = 0, rows = 0] = up.shape;
  const transposed = { ...up, shape: [rows, rank], transposed: true };
  return { up: up.shape.length === 2 ? transposed : up, mid: source(module, middle), down };
}

/** [r, K·kh·kw] as [r, K, kh, kw], for a convolution's weight. */
function unflattened(tensor: WeightSource, [, , ...kernel]: readonly number[]): WeightSource {
  const taps = kernel.reduce((a, b) => a * b, 1);
  const [rank, columns] = tensor.shape as [number, number];
  if (tensor.shape.length !== 2 || taps <= 1 || columns % taps) return tensor;
  return { ...tensor, shape: [rank, columns / taps, ...kernel] };
}

function source(module: AdapterModule, role: Role): WeightSource {
  const entry = module.tensors.get(role);
  if (!entry) throw fail(module, `Expected its ${role} tensor beside`, module.key);
  const { name, dtype, shape, offset } = entry;
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
    throw fail(module, `Expected F32, F16 or BF16 for ${name} but received`, dtype);
  return { name, dtype, shape, file: module.file, offset };
}

function checkShape(module: AdapterModule, delta: ModuleDelta, expected: readonly number[]): void {
  const [first, second] = delta.factors.map((factor) => factorShape(module, factor)) as [number[], number[]?];
  const received = second ? combined(delta.combine, first, second) : first;
  const trimmed = (shape: readonly number[]) => shape.join(',').replace(/(?<=.)(,1)+$/, '');
  if (trimmed(received) !== trimmed(expected) || received.length === 0)
    throw fail(
      module,
      `Expected an adapter for this model, whose module has a ${delta.leaf} of [${expected.join(', ')}], but received [${received.join(', ')}] of`,
      module.key,
    );
}

function factorShape(module: AdapterModule, factor: DeltaFactor): number[] {
  if ('whole' in factor) return factor.whole.shape;
  const { up, mid, down } = factor;
  const [rows = 0, rank = 0, ...ones] = up.shape;
  const inner = mid ? mid.shape : down.shape;
  const fits = rank >= 1 && inner[0] === rank && ones.every((n) => n === 1) && inner.length >= 2;
  const fitsMid = !mid || (mid.shape.length === 4 && down.shape[0] === mid.shape[1]);
  if (!fits || !fitsMid)
    throw fail(
      module,
      `Expected ${[up, mid, down].flatMap((each) => each?.name ?? []).join(' and ')} of one rank but received`,
      [up, mid, down].flatMap((each) => (each ? [`[${each.shape.join(', ')}]`] : [])).join(' and '),
    );
  return mid ? [rows, down.shape[1] ?? 0, ...mid.shape.slice(2)] : [rows, ...down.shape.slice(1)];
}

function combined(how: WeightDelta['combine'], a: number[], b: number[]): number[] {
  if (how === 'hadamard') return a.join() === b.join() ? a : [];
  const [rows = 0, columns = 1] = a;
  return [rows * b[0]!, columns * (b[1] ?? 1), ...b.slice(2)];
}

function fail({ file }: AdapterModule, expected: string, received: string): CheckpointError {
  return new CheckpointError(`${expected} ${received}, in ${file}`, { file });
}
