import { type PredictionType, predictOriginal } from '../samplers/prediction.ts';
import { alphasCumprodAboveZero, type NoiseSchedule } from '../samplers/schedule.ts';

/** Latents of the image that a prediction stands for; all three are [n,C,h,w]. */
export type Estimate = (prediction: Float32Array, sample: Float32Array, timestep: number) => Float32Array;

/**
 * What a run would come to if it ended at a step: x₀ of sample = √ᾱ·x₀ + √(1−ᾱ)·ε, whichever sampler made the sample,
 * as what the U-Net is given always has variance 1. The noisy latents themselves would show noise.
 * @param config of the scheduler, all defaults filled in.
 */
export function estimator(config: Record<string, unknown>): Estimate {
  let alphas: Float32Array | undefined;
  return (prediction, sample, timestep) => {
    alphas ??= alphasCumprodAboveZero(config as unknown as NoiseSchedule);
    const nearest = Math.min(alphas.length - 1, Math.max(0, Math.round(timestep)));
    const alpha = alphas[nearest]!;
    const type = config.prediction_type as PredictionType;
    return predictOriginal(type, prediction, sample, Math.sqrt(alpha), Math.sqrt(1 - alpha));
  };
}
