import { EigenvalueDecomposition, Matrix } from 'ml-matrix';

/** A set of vectors as what they would be if they were normally distributed. */
export interface Gaussian {
  mean: Float64Array;
  /** [D,D] */
  covariance: Matrix;
}

/**
 * Mean and covariance of vectors [D], over n − 1 as numpy.cov has it.
 * @throws Error for fewer than two.
 */
export function gaussianOf(vectors: readonly ArrayLike<number>[]): Gaussian {
  const n = vectors.length;
  if (n < 2) throw new Error(`Expected two pictures or more for a Fréchet distance but received ${n}`);
  const D = vectors[0]!.length;
  const mean = Float64Array.from({ length: D }, (_, d) => vectors.reduce((sum, v) => sum + v[d]!, 0) / n);
  const centred = new Matrix(vectors.map((v) => Array.from(mean, (m, d) => v[d]! - m)));
  return {
    mean,
    covariance: centred
      .transpose()
      .mmul(centred)
      .div(n - 1),
  };
}

/**
 * Fréchet distance of two Gaussians (arXiv:1706.08500, equation 6): |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½). The trace of
 * the root is that of (Σ₁^½ Σ₂ Σ₁^½)^½, which is symmetric: its eigenvalues' roots. In float64 throughout.
 */
export function frechetDistance(a: Gaussian, b: Gaussian): number {
  const means = a.mean.reduce((sum, m, d) => sum + (m - b.mean[d]!) ** 2, 0);
  const half = root(a.covariance);
  const inner = half.mmul(b.covariance).mmul(half);
  const crossed = eigenvaluesOf(inner).reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
  return means + a.covariance.trace() + b.covariance.trace() - 2 * crossed;
}

/** The symmetric root of a covariance; eigenvalues that rounding made negative are none. */
function root(covariance: Matrix): Matrix {
  const { realEigenvalues, eigenvectorMatrix: V } = new EigenvalueDecomposition(covariance, {
    assumeSymmetric: true,
  });
  const roots = Matrix.diag(realEigenvalues.map((value) => Math.sqrt(Math.max(0, value))));
  return V.mmul(roots).mmul(V.transpose());
}

function eigenvaluesOf(symmetric: Matrix): number[] {
  // Rounding leaves the halves a little apart.
  const even = Matrix.add(symmetric, symmetric.transpose()).div(2);
  return new EigenvalueDecomposition(even, { assumeSymmetric: true }).realEigenvalues;
}
