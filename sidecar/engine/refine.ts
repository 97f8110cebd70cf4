import { errors } from '../errors.ts';
import type { Sampler } from '../samplers/index.ts';
import { latentDiffusion, type Outcome, type Run, type Work } from './latent-diffusion.ts';
import type { Model } from './model.ts';

export interface Handover {
  /** The refiner's first evaluation. */
  at: number;
  /** Another run of the same sampler. */
  sampler: Sampler;
}

/** Runs work with the refiner, which is loaded when it is not there. */
export type UseRefiner = (work: (refiner: Model) => Promise<Outcome>) => Promise<Outcome>;

/**
 * Two models one after the other (arXiv:2307.01952, section 2.5, as an ensemble of experts): the refiner takes over the
 * base's latents, noise and all, where little of it is left. Without a handover, the base alone.
 */
export async function latentDiffusionRefined(
  base: Model,
  work: Work,
  handover: Handover | undefined,
  useRefiner: UseRefiner,
  run: Run,
): Promise<Outcome> {
  if (!handover) return latentDiffusion(base, work, run);
  const { at, sampler } = handover;
  const behind = sampler.timesteps.length - at;
  let total = behind;
  const first = await latentDiffusion(
    base,
    { ...work, end: at, previewAt: (step, before) => work.previewAt(step, before + behind) },
    {
      ...run,
      ahead: (run.ahead ?? 0) + behind * work.count,
      onStep: (step) => {
        total = step.total + behind;
        return run.onStep?.({ ...step, total });
      },
    },
  );
  const rest = await useRefiner((refiner) => {
    checkFits(refiner, base);
    const done = first.stepsRun;
    return latentDiffusion(
      refiner,
      {
        ...{ ...work, sampler, controls: [], source: { latents: first.latents, first: at } },
        previewAt: (step) => work.previewAt(done + step, total),
      },
      { ...run, onStep: (step) => run.onStep?.({ ...step, step: done + step.step, total }) },
    );
  });
  const { timings } = rest;
  for (const key of ['encodeTextMs', 'encodeImageMs', 'denoiseMs'] as const)
    timings[key] += first.timings[key];
  return {
    ...rest,
    stepsRun: first.stepsRun + rest.stepsRun,
    textTokens: first.textTokens + rest.textTokens,
    cutTokens: first.cutTokens,
  };
}

function checkFits(refiner: Model, base: Model): void {
  const shape = ({ autoencoder: { channels, scale } }: Model) =>
    `${channels} channels of latents at 1/${scale}`;
  if (shape(refiner) !== shape(base))
    throw errors.unexpected(
      'refiner',
      `a model with ${shape(base)}`,
      `${refiner.name} with ${shape(refiner)}`,
    );
  if (refiner.textEncoders.length === 0 || refiner.inpaints)
    throw errors.unexpected('refiner', 'a model that makes images from text alone', refiner.name);
}
