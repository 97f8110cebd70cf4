import { type Tensor, zip } from './arithmetic.ts';

const f = Math.fround;

/** unconditional + scale·(conditional − unconditional): classifier-free guidance (arXiv:2207.12598). */
export function classifierFreeGuidance(
  unconditional: Tensor,
  conditional: Tensor,
  scale: number,
): Float32Array<ArrayBuffer> {
  return zip(unconditional, conditional, (u, c) => u + f(f(scale) * f(c - u)));
}

/**
 * Brings a guided prediction back towards the standard deviation of the conditional one, against overexposure
 * (arXiv:2305.08891, section 3.4).
 * @param guided one image's prediction, any shape; `conditional` likewise.
 * @param amount φ: 0 leaves it, 1 rescales fully.
 */
export function rescaleGuidance(guided: Tensor, conditional: Tensor, amount: number): Tensor {
  if (amount === 0) return guided;
  const factor = f(standardDeviation(conditional) / standardDeviation(guided));
  return guided.map((x) => f(f(amount) * f(x * factor)) + f(f(1 - amount) * x));
}

/** √(Σ(x − mean)²/(n − 1)), summed in double precision. */
function standardDeviation(values: Tensor): number {
  let sum = 0;
  for (const x of values) sum += x;
  const mean = sum / values.length;
  let squares = 0;
  for (const x of values) squares += (x - mean) ** 2;
  return f(Math.sqrt(squares / (values.length - 1)));
}
