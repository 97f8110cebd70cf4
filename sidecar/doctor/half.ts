import type { Precision } from '../native.ts';

/** Each value rounded to what the type can hold, to nearest, ties to even. */
export function rounded(values: Float32Array, precision: Precision): Float32Array {
  if (precision === 'f32') return values;
  return values.map(precision === 'f16' ? toF16 : toBf16);
}

const bits = new Float64Array(1);
const words = new Uint32Array(bits.buffer);

function toF16(x: number): number {
  return toBits(x, 10, -14, 65504);
}

function toBf16(x: number): number {
  return toBits(x, 7, -126, 3.3895313892515355e38);
}

/** Rounds to a fraction of `digits` bits; exponents below `least` are subnormal. */
function toBits(x: number, digits: number, least: number, largest: number): number {
  if (x === 0 || !Number.isFinite(x)) return x;
  bits[0] = x;
  const exponent = Math.max(((words[1]! >>> 20) & 0x7ff) - 1023, least);
  const unit = 2 ** (exponent - digits);
  const scaled = x / unit;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0);
  const result = (up ? floor + 1 : floor) * unit;
  return Math.abs(result) > largest ? Math.sign(x) * Number.POSITIVE_INFINITY : result;
}
