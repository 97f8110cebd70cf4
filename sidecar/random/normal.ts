const f = Math.fround;

// Minimax polynomials of the Cephes library (S. Moshier) for float32, and π/4 in three parts for the reduction.
const LOG = [
  7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
  2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
].map(f);
const SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1].map(f);
const COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2].map(f);
const LN2_HIGH = f(0.693359375);
const LN2_LOW = f(-2.1219444e-4);
const FOUR_OVER_PI = f(4 / Math.PI);
const QUARTER_PI = [0.78515625, 2.4187564849853516e-4, 3.774894977445941e-8].map(f);
const TWO_PI = f(2 * Math.PI);

// f(a * b + c) stands for a fused multiply-add: the product of two float32 numbers is exact in double precision.

/** Natural logarithm of a float32 number in (0, 1], as the 8-lane AVX2 code in torch has it. */
function log(value: number): number {
  let exponent = 0;
  let mantissa = value;
  while (mantissa < 0.5) {
    mantissa *= 2;
    exponent--;
  }
  if (mantissa === 1) {
    mantissa = 0.5;
    exponent = 1;
  }
  let x = f(mantissa - 1);
  if (mantissa < f(Math.SQRT1_2)) {
    exponent--;
    x = f(x + mantissa);
  }
  const z = f(x * x);
  let y = LOG[0]!;
  for (let k = 1; k < LOG.length; k++) y = f(y * x + LOG[k]!);
  y = f(y * x);
  y = f(y * z + f(exponent * LN2_LOW));
  y = f(-z * 0.5 + y);
  return f(exponent * LN2_HIGH + f(x + y));
}

/**
 * Turns 16 uniforms in [0, 1) at `offset` into 16 normals: the first eight give radii, the last eight angles.
 * float32 at every step, in torch's order of operations.
 */
export function boxMuller16(data: Float32Array, offset: number): void {
  for (let i = offset; i < offset + 8; i++) {
    const radius = f(Math.sqrt(f(-2 * log(f(1 - data[i]!)))));
    let x = f(data[i + 8]! * TWO_PI);
    // Octant of the angle, made even; x becomes the rest, in [-π/4, π/4].
    const octant = (Math.trunc(f(x * FOUR_OVER_PI)) + 1) & ~1;
    for (const part of QUARTER_PI) x = f(-octant * part + x);
    const z = f(x * x);

    let c = COS[0]!;
    c = f(c * z + COS[1]!);
    c = f(c * z + COS[2]!);
    c = f(c * z);
    c = f(f(c * z - f(z * 0.5)) + 1);

    let s = SIN[0]!;
    s = f(s * z + SIN[1]!);
    s = f(s * z + SIN[2]!);
    s = f(s * z);
    s = f(s * x + x);

    const swap = (octant & 2) !== 0;
    const sine = swap ? c : s;
    const cosine = swap ? s : c;
    data[i] = f(radius * (octant === 2 || octant === 4 ? -cosine : cosine));
    data[i + 8] = f(radius * (octant & 4 ? -sine : sine));
  }
}
