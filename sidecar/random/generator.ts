/** A source of standard normal numbers. Consecutive draws continue one sequence. */
export interface Generator {
  /** `n` draws of N(0, 1), n ≥ 0. The split matters: two draws of 8 are not one draw of 16. */
  randn(n: number): Float32Array<ArrayBuffer>;
}

/**
 * A seed as the generators take it: the 64 bits of a whole number from −2⁶³ to 2⁶⁴ − 1 (negative ones wrap around).
 * @throws RangeError when it is anything else, or a number beyond ±(2⁵³ − 1), where digits are already lost.
 */
export function seedBits(seed: number | bigint): bigint {
  if (typeof seed === 'bigint' ? seed >= -(2n ** 63n) && seed < 2n ** 64n : Number.isSafeInteger(seed)) {
    return BigInt.asUintN(64, BigInt(seed));
  }
  throw new RangeError(
    `Expected a whole number from -2^63 to 2^64 - 1 for seed (a bigint beyond 2^53) but received ${seed}`,
  );
}
