import { randomInt } from 'node:crypto';
import type { Source } from '../beginnings/index.ts';
import { ignoredControls } from '../control/plan.ts';
import type { PlannedEffective } from '../effective.ts';
import type { Hires } from '../hires.ts';
import { DEFAULT_QUALITY } from '../image-file.ts';
import type { Work } from '../latent-diffusion.ts';
import type { OpenModel } from '../open-model.ts';
import { checkPixels, finalSize } from '../pixel-limit.ts';
import { estimator } from '../preview.ts';
import type { Handover } from '../refine.ts';
import type { ImageRequest } from '../request.ts';
import { DEFAULT_HANDOVER, handoverAt } from './handover.ts';
import { DEFAULT_HIRES_STRENGTH, hiresOf } from './hires.ts';
import type { Pictures } from './pictures.ts';
import { ignoredIn, notesOn } from './remarks.ts';
import { sizeOf, sizesOf } from './size.ts';
import { defaultSteps, sourceOf } from './source.ts';
import { textsOf } from './texts.ts';

export { openPictures, type Pictures } from './pictures.ts';

/** A request with a model's defaults filled in. */
export interface Planned {
  work: Omit<Work, 'source'> & { source: Source | undefined };
  /** With a refiner: the evaluation that it goes on from, and the sampler that it does so with. */
  handover: Handover | undefined;
  hires: Hires | undefined;
  effective: PlannedEffective;
}

/**
 * Fills in what a request leaves to the model.
 * @throws ServiceError invalid_argument for what this model cannot do.
 */
export function planRequest(request: ImageRequest, pictures: Pictures, model: OpenModel): Planned {
  const { settings, latentSpace } = model;
  const size = sizeOf(request, pictures, model);
  const sizes = sizesOf(request, size.width, size.height);
  const { ignored: unused, ...texts } = textsOf(request, model);
  const guidanceRescale =
    texts.guidanceScale > 1 ? (request.guidanceRescale ?? settings.guidance_rescale) : 0;
  const resolved = model.sampler(request.sampler, request.schedule);
  const eta = resolved.takesEta ? (request.eta ?? 0) : 0;
  const create = (steps: number) => resolved.create({ steps, eta });
  const steps = request.steps ?? defaultSteps(request, pictures, model);
  const sampler = create(steps);
  const { source, strength, ignored: idle } = sourceOf(request, pictures, model, sampler, steps);
  const at = handoverAt(request, sampler, resolved.config);
  const handover = at === undefined ? undefined : { at, sampler: create(steps) };
  const hires = hiresOf(request, size, model, create);
  checkPixels(request, finalSize(request, pictures, hires, { ...size, scale: latentSpace.scale }));

  const seeds = request.seeds.length > 0 ? request.seeds : [randomInt(2 ** 32)];
  const { count, promptSyntax = 'weighted', guessMode = false } = request;
  const shared = { ...texts, promptSyntax, count, seeds, steps, guidanceRescale };
  const work: Planned['work'] = {
    ...shared,
    sizes,
    shape: [latentSpace.channels, size.height / latentSpace.scale, size.width / latentSpace.scale],
    sampler,
    source,
    // Latents that are enlarged as they are need no picture.
    end: hires && hires.upscaler !== 'pixel' ? sampler.timesteps.length : undefined,
    previewAt: previewSteps(request),
    estimate: estimator(resolved.config),
  };
  const passes = { work, handover, hires };
  const ignored = [
    ...unused,
    ...idle,
    ...ignoredIn(request, pictures, model, { ...passes, ...texts, sampler: resolved }),
    ...ignoredControls(request.control, guessMode, passes),
  ];
  const names = { model: model.name, sampler: resolved.name, schedule: resolved.schedule };
  return {
    ...passes,
    effective: {
      ...{ ...shared, ...names, ...size, eta, strength, guessMode, ignored },
      adapters: request.adapters,
      notes: notesOn(request, model, { ...texts, steps, strength }),
      ...fileOf(request),
      ...(pictures.mask && {
        maskBlur: request.maskBlur ?? 0,
        onlyMaskedPadding: request.onlyMaskedPadding,
        keepUnmasked: request.keepUnmasked || request.onlyMaskedPadding !== undefined,
        maskedContent: source?.content,
      }),
      sizeConditioning: model.checkpoint.kind === 'text-to-image-xl' ? sizes : undefined,
      ...(hires && {
        hiresScale: request.hiresScale,
        hiresStrength: request.hiresStrength ?? DEFAULT_HIRES_STRENGTH,
        hiresUpscaler: hires.upscaler,
      }),
      ...(handover && { refiner: request.refiner, refinerStart: request.refinerStart ?? DEFAULT_HANDOVER }),
    },
  };
}

function fileOf({ format = 'IMAGE_FORMAT_PNG', quality = DEFAULT_QUALITY }: ImageRequest) {
  return { format, quality: format === 'IMAGE_FORMAT_PNG' ? undefined : quality };
}

/** Every so many steps, or so many in all; the last step has the picture itself. */
function previewSteps({ previewInterval, previewCount }: ImageRequest): Work['previewAt'] {
  if (previewInterval > 0) return (step, total) => step < total && step % previewInterval === 0;
  const places = Array.from({ length: previewCount }, (_, i) => (i + 1) / (previewCount + 1));
  return (step, total) => step < total && places.some((place) => Math.round(place * total) === step);
}
