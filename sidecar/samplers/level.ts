import { type Tensor, weightedSum } from './arithmetic.ts';

const f = Math.fround;

/** A point of the noise schedule with α² + σ² = 1, and λ = log(α/σ). */
export interface Level {
  alpha: number;
  sigma: number;
  lambda: number;
}

/** The level of latents x₀ + σ·ε, scaled to variance 1. */
export function level(sigma: number): Level {
  const alpha = f(1 / f(Math.sqrt(f(f(sigma * sigma) + 1))));
  const scaled = f(sigma * alpha);
  return { alpha, sigma: scaled, lambda: f(log(alpha) - log(scaled)) };
}

/** Natural logarithm, rounded. */
export const log = (x: number): number => f(Math.log(x));

/** e^x, rounded. */
export const exp = (x: number): number => f(Math.exp(x));

/** α·x₀ + σ·ε. */
export const noised = ({ alpha, sigma }: Pick<Level, 'alpha' | 'sigma'>, original: Tensor, noise: Tensor) =>
  weightedSum([alpha, original], [sigma, noise]);

/** α and σ of ᾱ = α². */
export const levelOfVariance = (alphaCumprod: number): Pick<Level, 'alpha' | 'sigma'> => ({
  alpha: f(Math.sqrt(alphaCumprod)),
  sigma: f(Math.sqrt(f(1 - alphaCumprod))),
});
