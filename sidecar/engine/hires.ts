import type { Sampler } from '../samplers/index.ts';
import type { Enlarged, Source } from './beginnings/index.ts';
import type { SizeConditioning } from './conditioning/stable-diffusion-xl.ts';
import { join } from './conditioning/text.ts';
import { type InterpolationMode, interpolate } from './interpolate.ts';
import { latentDiffusion, type Outcome, type Run, type Work } from './latent-diffusion.ts';
import type { Model } from './model.ts';
import { rawPicture } from './picture.ts';

/** What enlarges for a second pass: the picture, or the latents as torch interpolates them. */
export const upscalers = {
  pixel: undefined,
  latent: 'bilinear',
  'latent-bicubic': 'bicubic',
  'latent-nearest': 'nearest',
  'latent-nearest-exact': 'nearest-exact',
} satisfies Record<string, InterpolationMode | undefined>;

export type Upscaler = keyof typeof upscalers;

/** As web UIs in the line of A1111's show and read them; a picture is enlarged by Lanczos' kernel. */
export const upscalerLabels: Record<Upscaler, string> = {
  pixel: 'Lanczos',
  latent: 'Latent',
  'latent-bicubic': 'Latent (bicubic)',
  'latent-nearest': 'Latent (nearest)',
  'latent-nearest-exact': 'Latent (nearest-exact)',
};

/** A second pass at a larger size. */
export interface Hires {
  /** Of one image's latents. */
  shape: Work['shape'];
  sizes: SizeConditioning;
  /** Evaluations of each image. */
  evaluations: number;
  sampler: () => Sampler;
  upscaler: Upscaler;
  /** The first of them that is run. */
  first: number;
}

/**
 * Images, or latents, of a first run, enlarged, and gone over once more as image to image: what a model cannot compose at a size
 * that it was not trained for, it can still draw in detail. Each comes out as if it alone had been sent to be gone over.
 */
export async function goOver(
  model: Model,
  work: Work,
  hires: Hires,
  outcome: Outcome,
  run: Run,
): Promise<Outcome> {
  const { shape, sizes } = hires;
  const { count } = work;
  const images: Outcome['images'] = [];
  const latents: Float32Array[] = [];
  const { timings } = outcome;
  let { stepsRun } = outcome;
  const total = stepsRun + count * hires.evaluations;
  for (let i = 0; i < count; i++) {
    const done = stepsRun;
    const over = await latentDiffusion(
      model,
      {
        ...{ ...work, shape, sizes, count: 1, seeds: [work.seeds[i] ?? work.seeds[0]!], end: undefined },
        sampler: hires.sampler(),
        source: enlarged(outcome, i, hires),
        previewAt: () => false,
      },
      {
        ...run,
        ahead: (count - 1 - i) * hires.evaluations,
        onStep: (step) => run.onStep?.({ ...step, step: done + step.step, total }),
      },
    );
    images.push(...over.images);
    latents.push(over.latents);
    stepsRun += over.stepsRun;
    for (const key of Object.keys(timings) as (keyof typeof timings)[]) timings[key] += over.timings[key];
  }
  return { ...outcome, images, latents: join(latents), shape, stepsRun, timings };
}

/** What the second pass of image `i` begins from. */
function enlarged({ images, latents, shape }: Outcome, i: number, hires: Hires): Source | Enlarged {
  const { first, upscaler } = hires;
  const mode = upscalers[upscaler];
  if (!mode) return { image: rawPicture(images[i]!.data, images[i]!), first, isNoise: false };
  const [[C, h, w], [, H, W]] = [shape, hires.shape];
  const one = latents.subarray(i * C * h * w, (i + 1) * C * h * w);
  return { original: interpolate(one, [h, w], [H, W], mode), first };
}
