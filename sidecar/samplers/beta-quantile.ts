/**
 * The x with I_x(a, b) = p: the quantile of a beta distribution, in double precision. Newton's method, kept within a
 * bracket that every evaluation narrows.
 * @param p probability, 0…1.
 */
export function betaQuantile(p: number, a: number, b: number): number {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  const logBeta = logGamma(a) + logGamma(b) - logGamma(a + b);
  let [low, high] = [0, 1];
  let x = 0.5;
  for (let i = 0; i < 200; i++) {
    const logDensity = (a - 1) * Math.log(x) + (b - 1) * Math.log1p(-x) - logBeta;
    const excess = incompleteBeta(x, a, b, logBeta) - p;
    if (excess > 0) high = x;
    else low = x;
    const newton = x - excess / Math.exp(logDensity);
    const next = newton > low && newton < high ? newton : (low + high) / 2;
    if (Math.abs(next - x) <= Number.EPSILON * next) return next;
    x = next;
  }
  return x;
}

/** I_x(a, b), the share of B(a, b) that lies below x: equation 8.17.22 of dlmf.nist.gov, which converges fast below
 * the mean; above it, the share that lies beyond is taken from 1. */
function incompleteBeta(x: number, a: number, b: number, logBeta: number): number {
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a, logBeta);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta) / a;
  return front / continuedFraction(x, a, b);
}

/** 1 + d₁/(1 + d₂/(1 + …)), from the front: the modified Lentz method. */
function continuedFraction(x: number, a: number, b: number): number {
  let [value, c, d] = [1, 1, 0];
  for (let n = 1; n < 1000; n++) {
    const m = n >> 1;
    const term =
      n % 2 === 0
        ? (m * (b - m) * x) / ((a + n - 1) * (a + n))
        : (-(a + m) * (a + b + m) * x) / ((a + n - 1) * (a + n));
    d = 1 / (1 + term * d);
    c = 1 + term / c;
    value *= c * d;
    if (Math.abs(c * d - 1) < Number.EPSILON) break;
  }
  return value;
}

/** log Γ(x) for x > 0: Lanczos's approximation, g = 7, 9 terms, exact to a few units of the last place. */
function logGamma(x: number): number {
  const t = x + 6.5;
  const series = LANCZOS.reduce((sum, coefficient, i) => sum + coefficient / (x - 1 + i));
  return Math.log(Math.sqrt(2 * Math.PI) * series) + (x - 0.5) * Math.log(t) - t;
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];
