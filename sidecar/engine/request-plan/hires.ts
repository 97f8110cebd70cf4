import { errors } from '../../errors.ts';
import { firstEvaluation, type Sampler } from '../../samplers/index.ts';
import { stepsForStrength } from '../few-step.ts';
import type { Hires } from '../hires.ts';
import type { OpenModel } from '../open-model.ts';
import type { ImageRequest } from '../request.ts';
import { sizesOf } from './size.ts';

export const DEFAULT_HIRES_STRENGTH = 0.5;

/** A second pass at a multiple of the size, in whole latents. */
export function hiresOf(
  request: ImageRequest,
  size: { width: number; height: number },
  model: OpenModel,
  create: (steps: number) => Sampler,
): Hires | undefined {
  const { hiresScale, hiresStrength = DEFAULT_HIRES_STRENGTH, hiresUpscaler = 'pixel', mask } = request;
  const { latentSpace, sizeStep, name } = model;
  if (hiresScale === undefined) return undefined;
  if (mask) throw errors.unexpected('hires_scale', 'nothing, as there is a mask,', 'a number');
  if (hiresUpscaler === 'pixel' && !latentSpace.encodes)
    throw errors.unexpected('hires_upscaler', `latent, as ${name} encodes no images,`, 'pixel');
  const { channels, scale } = latentSpace;
  const latents = (pixels: number) => (Math.round((pixels * hiresScale) / sizeStep) * sizeStep) / scale;
  const [height, width] = [latents(size.height), latents(size.width)];
  if (Math.max(height, width) * scale > 4096)
    throw errors.unexpected(
      'hires_scale',
      'an image of at most 4096x4096 pixels',
      `${width * scale}x${height * scale}`,
    );
  const steps = request.steps ?? defaultSteps(model, hiresStrength);
  const sampler = () => create(steps);
  const run = sampler();
  const first = firstEvaluation(run, steps, hiresStrength);
  return {
    shape: [channels, height, width],
    sizes: sizesOf(request, width * scale, height * scale),
    evaluations: run.timesteps.length - first,
    sampler,
    first,
    upscaler: hiresUpscaler,
  };
}

function defaultSteps({ defaults: { steps }, isFewStep }: OpenModel, strength: number): number {
  return isFewStep ? stepsForStrength(steps, strength) : steps;
}
