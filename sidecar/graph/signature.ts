import type { Attr, DType } from './plan.ts';

/** A tensor's shape as an op sees it; float32 unless said otherwise. */
export interface Shaped {
  shape: readonly number[];
  dtype?: DType;
}

/** Sizes by letter (`K` → 320), and `rows`, the product of what `..` stands for. */
export type Sizes = Record<string, number>;
export type Attrs = Record<string, Attr>;

/**
 * What an op takes and gives. Shapes are patterns of letters, `[N,H,W,C]`; `..` stands for any leading
 * dimensions, `i32[B,T]` for token ids. A name ending in `?` is optional.
 */
export interface Signature {
  inputs: Record<string, string>;
  weights?: Record<string, string>;
  /** `int`, `number`, `boolean`, `int[4]`, or the allowed words: `silu|gelu`. */
  attrs?: Record<string, string>;
  /** Sizes that follow from those of the required tensors and the attributes. */
  derive?: (sizes: Sizes, attrs: Attrs, has: (name: string) => boolean) => Sizes;
  output: string;
}

export class ShapeError extends Error {
  override name = 'ShapeError';
}

/** Throws `Expected … but received …`. */
export function mismatch(expected: string, received: unknown): never {
  throw new ShapeError(`Expected ${expected} but received ${show(received)}`);
}

/**
 * Matches tensors and attributes against an op's signature.
 * @returns the output's shape, and the sizes of all letters.
 * @throws ShapeError naming the tensor or attribute.
 */
export function match(
  signature: Signature,
  tensors: Record<string, Shaped>,
  attrs: Attrs,
): { output: number[]; sizes: Sizes } {
  const patterns = patternsOf(signature);
  for (const name of Object.keys(tensors))
    if (!patterns.has(name)) mismatch(`one of ${[...patterns.keys()].join(', ')}`, name);
  checkAttrs(signature.attrs ?? {}, attrs);

  const bound: Bound = { sizes: {}, rest: undefined };
  const has = (name: string) => tensors[name] !== undefined;
  for (const [name, { text, optional }] of patterns) {
    if (!optional && !has(name)) mismatch(`tensor ${name} ${text}`, 'nothing');
    if (!optional) bind(bound, name, text, tensors[name]!);
  }
  Object.assign(bound.sizes, signature.derive?.(bound.sizes, attrs, has));
  for (const [name, { text, optional }] of patterns)
    if (optional && has(name)) bind(bound, name, text, tensors[name]!);
  for (const [name, { text }] of patterns) {
    const tensor = tensors[name];
    if (!tensor) continue;
    const want = instantiate(bound, text);
    if (!sameShape(want, tensor.shape)) mismatch(`${show(want)} ${text} for ${name}`, tensor.shape);
  }
  const output = instantiate(bound, signature.output);
  if (!output.every((n) => Number.isSafeInteger(n) && n > 0))
    mismatch('an output of at least one element', output);
  return { output, sizes: bound.sizes };
}

/** The shapes of optional tensors `names`, given the others: what a test case leaves to be worked out. */
export function complete(
  signature: Signature,
  tensors: Record<string, Shaped>,
  attrs: Attrs,
  names: string[],
): Record<string, number[]> {
  const patterns = patternsOf(signature);
  const bound: Bound = { sizes: {}, rest: undefined };
  for (const [name, tensor] of Object.entries(tensors)) bind(bound, name, patterns.get(name)!.text, tensor);
  const has = (name: string) => tensors[name] !== undefined || names.includes(name);
  Object.assign(bound.sizes, signature.derive?.(bound.sizes, attrs, has));
  return Object.fromEntries(names.map((name) => [name, instantiate(bound, patterns.get(name)!.text)]));
}

interface Bound {
  sizes: Sizes;
  rest: number[] | undefined;
}

function patternsOf({ inputs, weights }: Signature): Map<string, { text: string; optional: boolean }> {
  const all = Object.entries({ ...inputs, ...weights });
  return new Map(all.map(([key, text]) => [key.replace('?', ''), { text, optional: key.endsWith('?') }]));
}

function letters(pattern: string): string[] {
  const inner = pattern.slice(pattern.indexOf('[') + 1, -1);
  return inner.split(',');
}

function bind(bound: Bound, name: string, pattern: string, { shape, dtype }: Shaped): void {
  const want: DType = pattern.startsWith('i32') ? 'i32' : 'f32';
  if ((dtype ?? want) !== want) mismatch(`${want} for ${name}`, dtype);
  const parts = letters(pattern);
  const at = parts.indexOf('..');
  if (at < 0 ? shape.length !== parts.length : shape.length < parts.length - 1)
    mismatch(`${pattern} for ${name}`, shape);
  if (at >= 0) {
    bound.rest ??= shape.slice(at, at + shape.length - parts.length + 1);
    bound.sizes.rows = bound.rest.reduce((a, b) => a * b, 1);
  }
  parts.forEach((letter, i) => {
    if (i === at) return;
    bound.sizes[letter] ??= shape[at >= 0 && i > at ? shape.length - parts.length + i : i]!;
  });
}

function instantiate(bound: Bound, pattern: string): number[] {
  return letters(pattern).flatMap((letter) => (letter === '..' ? (bound.rest ?? []) : bound.sizes[letter]!));
}

function checkAttrs(kinds: Record<string, string>, attrs: Attrs): void {
  const known = new Map(Object.entries(kinds).map(([key, kind]) => [key.replace('?', ''), kind]));
  for (const name of Object.keys(attrs))
    if (!known.has(name)) mismatch(`one of ${[...known.keys()].join(', ')}`, name);
  for (const [key, kind] of Object.entries(kinds)) {
    const value = attrs[key.replace('?', '')];
    if (value === undefined ? !key.endsWith('?') : !isKind(value, kind))
      mismatch(`${kind} for ${key}`, value);
  }
}

function isKind(value: Attr, kind: string): boolean {
  const list = /^int\[(\d+)\]$/.exec(kind);
  if (list) return Array.isArray(value) && value.length === Number(list[1]) && value.every(Number.isInteger);
  if (kind === 'int') return Number.isInteger(value);
  if (kind === 'number') return Number.isFinite(value);
  if (kind === 'boolean') return typeof value === 'boolean';
  return kind.split('|').includes(String(value));
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

export function elements(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

function show(value: unknown): string {
  return Array.isArray(value) ? `[${value.join(', ')}]` : String(value);
}
