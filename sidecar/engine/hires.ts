import type { Sampler } from '../samplers/index.ts';
import type { SizeConditioning } from './conditioning/stable-diffusion-xl.ts';
import { join } from './conditioning/text.ts';
import { latentDiffusion, type Outcome, type Run, type Work } from './latent-diffusion.ts';
import type { Model } from './model.ts';
import { rawPicture } from './picture.ts';

/** A second pass at a larger size. */
export interface Hires {
  /** Of one image's latents. */
  shape: Work['shape'];
  sizes: SizeConditioning;
  /** Evaluations of each image. */
  evaluations: number;
  sampler: () => Sampler;
  /** The first of them that is run. */
  first: number;
}

/**
 * Images of a first run, enlarged, and gone over once more as image to image: what a model cannot compose at a size
 * that it was not trained for, it can still draw in detail. Each comes out as if it alone had been sent to be gone over.
 */
export async function goOver(
  model: Model,
  work: Work,
  hires: Hires,
  outcome: Outcome,
  run: Run,
): Promise<Outcome> {
  const { shape, sizes, first } = hires;
  const images: Outcome['images'] = [];
  const latents: Float32Array[] = [];
  const { timings } = outcome;
  let { stepsRun } = outcome;
  const total = stepsRun + outcome.images.length * hires.evaluations;
  for (const [i, picture] of outcome.images.entries()) {
    const done = stepsRun;
    const over = await latentDiffusion(
      model,
      {
        ...{ ...work, shape, sizes, count: 1, seeds: [work.seeds[i] ?? work.seeds[0]!], end: undefined },
        sampler: hires.sampler(),
        source: { image: rawPicture(picture.data, picture), first, isNoise: false },
        previewAt: () => false,
      },
      { ...run, onStep: (step) => run.onStep?.({ ...step, step: done + step.step, total }) },
    );
    images.push(...over.images);
    latents.push(over.latents);
    stepsRun += over.stepsRun;
    for (const key of Object.keys(timings) as (keyof typeof timings)[]) timings[key] += over.timings[key];
  }
  return { ...outcome, images, latents: join(latents), shape, stepsRun, timings };
}
