/**
 * The value that parts others best: those up to it from those above, so that the variance between the two parts is
 * largest (Otsu, IEEE TSMC 9, 1979). Where several do, the first; where all values are one, 0.
 */
export function otsu(values: Uint8Array): number {
  const counts = new Float64Array(256);
  for (const value of values) counts[value]! += 1;
  const total = counts.reduce((sum, count, value) => sum + count * value, 0);
  let [below, sum, best, threshold] = [0, 0, 0, 0];
  for (let value = 0; value < 256; value++) {
    below += counts[value]!;
    sum += counts[value]! * value;
    const above = values.length - below;
    if (below === 0 || above === 0) continue;
    const between = below * above * (sum / below - (total - sum) / above) ** 2;
    if (between > best) [best, threshold] = [between, value];
  }
  return threshold;
}
