import { errors } from '../../errors.ts';

/** A tensor as it comes over the wire. */
export interface TensorInput {
  dtype?: string;
  shape?: readonly unknown[];
  data?: Uint8Array | string;
}

/** Dense, row by row. */
export interface Floats {
  shape: number[];
  data: Float32Array;
}

/** A size that a dimension must have, or the least, the most, and what it is a multiple of. */
export type Dimension = number | { min: number; max: number; step?: number };

/**
 * Reads a tensor of float32.
 * @param field that it came in, for messages.
 * @throws ServiceError invalid_argument for anything but finite numbers of that shape.
 */
export function readTensor(
  field: string,
  input: TensorInput | null | undefined,
  wanted: Dimension[],
): Floats {
  const expected = `F32 [${wanted.map(show).join(',')}]`;
  if (!input) throw errors.unexpected(field, expected, 'nothing');
  const shape = (input.shape ?? []).map(Number);
  const bytes = input.data instanceof Uint8Array ? input.data : new Uint8Array();
  const fits = shape.length === wanted.length && shape.every((n, i) => isWithin(n, wanted[i]!));
  if (input.dtype !== 'F32' || !fits)
    throw errors.unexpected(field, expected, `${input.dtype || 'no dtype'} [${shape.join(',')}]`);
  const elements = shape.reduce((a, b) => a * b, 1);
  if (bytes.length !== 4 * elements)
    throw errors.unexpected(`${field}.data`, `${4 * elements} bytes`, `${bytes.length}`);
  // On the wire it lies anywhere; numbers are aligned.
  const copy = new Uint8Array(bytes.length);
  copy.set(bytes);
  const data = new Float32Array(copy.buffer);
  if (!data.every(Number.isFinite)) throw errors.unexpected(field, 'finite numbers', 'NaN or infinity');
  return { shape, data };
}

/** Whether anything came in a field of a message. */
export function isGiven(input: TensorInput | null | undefined): input is TensorInput {
  return input !== null && input !== undefined;
}

function isWithin(n: number, wanted: Dimension): boolean {
  if (typeof wanted === 'number') return n === wanted;
  const { min, max, step = 1 } = wanted;
  return Number.isInteger(n) && n >= min && n <= max && n % step === 0;
}

function show(wanted: Dimension): string {
  if (typeof wanted === 'number') return String(wanted);
  const { min, max, step = 1 } = wanted;
  return step === 1 ? `${min}…${max}` : `${min}…${max} by ${step}`;
}
