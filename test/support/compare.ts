/** Relative L2 error ‖actual − expected‖ / ‖expected‖, in double precision; NaN or infinity anywhere gives NaN. */
export function relativeL2(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new Error(`Expected ${expected.length} elements for actual but received ${actual.length}`);
  }
  let error = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    error += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Number.isFinite(error) ? Math.sqrt(error / norm) : Number.NaN;
}

/** The share of 8-bit values, 0…1, that differ by more than one level. */
export function shareBeyondOneLevel(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) {
    throw new Error(`Expected ${expected.length} values for actual but received ${actual.length}`);
  }
  let beyond = 0;
  for (let i = 0; i < expected.length; i++) if (Math.abs(actual[i]! - expected[i]!) > 1) beyond++;
  return beyond / expected.length;
}
