import { type Tensor, zip } from './arithmetic.ts';

const f = Math.fround;

/**
 * What a model was trained to predict of x = α·x₀ + σ·ε: the noise ε, v = α·ε − σ·x₀ (arXiv:2202.00512), or the
 * image x₀ itself.
 */
export type PredictionType = 'epsilon' | 'v_prediction' | 'sample';

/** x₀ of x = α·x₀ + σ·ε with α² + σ² = 1. */
export function predictOriginal(
  type: PredictionType,
  output: Tensor,
  x: Tensor,
  alpha: number,
  sigma: number,
): Tensor {
  switch (type) {
    case 'epsilon':
      return zip(output, x, (epsilon, x) => f(x - f(sigma * epsilon)) / alpha);
    case 'v_prediction':
      return zip(output, x, (v, x) => f(alpha * x) - f(sigma * v));
    case 'sample':
      return output;
  }
}

/** ε of x = α·x₀ + σ·ε with α² + σ² = 1. */
export function predictNoise(
  type: PredictionType,
  output: Tensor,
  x: Tensor,
  alpha: number,
  sigma: number,
): Tensor {
  switch (type) {
    case 'epsilon':
      return output;
    case 'v_prediction':
      return zip(output, x, (v, x) => f(alpha * v) + f(sigma * x));
    case 'sample':
      return zip(output, x, (x0, x) => f(x - f(alpha * x0)) / sigma);
  }
}

/** x₀ of x = x₀ + σ·ε, where the model saw x/√(σ² + 1) (arXiv:2206.00364, table 1). */
export function denoise(type: PredictionType, output: Tensor, x: Tensor, sigma: number): Tensor {
  switch (type) {
    case 'epsilon':
      return zip(output, x, (epsilon, x) => x - f(sigma * epsilon));
    case 'v_prediction': {
      const variance = f(f(sigma * sigma) + 1);
      const scale = f(-sigma / f(Math.sqrt(variance)));
      return zip(output, x, (v, x) => f(v * scale) + f(x / variance));
    }
    case 'sample':
      return output;
  }
}
