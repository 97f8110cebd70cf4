/**
 * Weights a text encoding's tokens, then restores the mean over all of it, which keeps strong weights from washing out
 * the picture. Per chunk, as AUTOMATIC1111's web UI does by default ("Original" emphasis; modules/sd_emphasis.py:
 * z·w·mean(z)/mean(z·w)). Where all weights are 1, the encoding comes back as it is.
 * @param encoding [T,D], one chunk's.
 * @param weights [T].
 */
export function emphasize(encoding: Float32Array, weights: Float32Array): Float32Array {
  if (weights.every((weight) => weight === 1)) return encoding;
  const width = encoding.length / weights.length;
  const weighted = encoding.map((value, i) => value * weights[Math.floor(i / width)]!);
  const ratio = sum(encoding) / sum(weighted);
  // Weights of 0 can leave nothing to restore.
  return Number.isFinite(ratio) ? weighted.map((value) => value * ratio) : weighted;
}

function sum(values: Float32Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
