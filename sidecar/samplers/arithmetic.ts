// float32 arithmetic over latents. Storing into a Float32Array rounds; what lies between is rounded by `Math.fround`
// where the reference rounds, as near a large sigma a latent is a small difference of large numbers.

/** An array as latents and model outputs come: any number of elements, any layout. */
export type Tensor = Float32Array;

/** `combine(a[i], b[i])` for every element. */
export function zip(
  a: Tensor,
  b: Tensor,
  combine: (a: number, b: number) => number,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(a.length);
  for (let i = 0; i < out.length; i++) out[i] = combine(a[i]!, b[i]!);
  return out;
}

/** weight₀·tensor₀ + weight₁·tensor₁ + …, each product and each sum rounded, in this order. */
export function weightedSum(...terms: [weight: number, tensor: Tensor][]): Float32Array<ArrayBuffer> {
  const [first, ...rest] = terms;
  const out = new Float32Array(first![1].length);
  for (let i = 0; i < out.length; i++) out[i] = first![0] * first![1][i]!;
  for (const [weight, tensor] of rest) {
    for (let i = 0; i < out.length; i++) out[i] = out[i]! + Math.fround(weight * tensor[i]!);
  }
  return out;
}
