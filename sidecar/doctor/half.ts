import type { Precision } from '../native.ts';

/** Each value rounded to what the type can hold, to nearest, ties to even. */
export function rounded(values: Float32Array, precision: Precision): Float32Array {
  if (precision === 'f32') return values;
  const y = values.slice();
  const bits = new Int32Array(y.buffer);
  if (precision === 'f16') toF16(y, bits);
  else toBf16(bits);
  return y;
}

const EXPONENT = 0x7f800000; // all ones: infinity or NaN

/** The upper half of a float32's bits, rounded; what overflows becomes infinite by itself. */
function toBf16(bits: Int32Array): void {
  for (let i = 0; i < bits.length; i++)
    if ((bits[i]! & EXPONENT) !== EXPONENT) bits[i] = nearest(bits[i]!, 16);
}

const SMALLEST = 0x38800000; // 2⁻¹⁴, the least that is not subnormal in float16
const LARGEST = 0x477fe000; // 65504

function toF16(y: Float32Array, bits: Int32Array): void {
  for (let i = 0; i < bits.length; i++) {
    const sign = bits[i]! & 0x80000000;
    const size = bits[i]! & 0x7fffffff;
    if (size < SMALLEST) {
      // From 0.5 to 1 float32's unit is 2⁻²⁴, that of float16's subnormals.
      y[i] = Math.fround(Math.abs(y[i]!) + 0.75) - 0.75;
      bits[i]! |= sign;
    } else if (size < EXPONENT) {
      const near = nearest(size, 13);
      bits[i] = sign | (near > LARGEST ? EXPONENT : near);
    }
  }
}

/** A number's bits with the lowest `count` of its fraction rounded away: to nearest, ties to even. */
function nearest(bits: number, count: number): number {
  const below = (1 << (count - 1)) - 1 + ((bits >> count) & 1);
  return (bits + below) & ~((1 << count) - 1);
}
