import { randomInt } from 'node:crypto';
import { errors } from '../errors.ts';
import { defaultSize } from '../models/components.ts';
import type { SizeConditioning } from './conditioning/stable-diffusion-xl.ts';
import type { Outcome, Work } from './latent-diffusion.ts';
import type { Model } from './model.ts';
import type { ImageParameters } from './png.ts';
import { estimator } from './preview.ts';
import type { ImageRequest } from './request.ts';
import { defaultGuidance } from './settings.ts';

/** A request as it was run, every default filled in. */
export interface Effective {
  model: string;
  modelHash: string;
  prompt: string;
  negativePrompt: string;
  width: number;
  height: number;
  count: number;
  seeds: number[];
  steps: number;
  stepsRun: number;
  guidanceScale: number;
  guidanceRescale: number;
  sampler: string;
  schedule: string;
  eta: number;
  clipSkip: number;
  /** Stable Diffusion XL only. */
  sizeConditioning?: SizeConditioning;
  /** What was asked for and had no effect, and why. */
  ignored: string[];
}

/** A request with a model's defaults filled in. */
export interface Planned {
  work: Work;
  effective: Omit<Effective, 'modelHash' | 'stepsRun'>;
}

/**
 * Fills in what a request leaves to the model.
 * @throws ServiceError invalid_argument for what this model cannot do.
 */
export function planRequest(request: ImageRequest, model: Model): Planned {
  const { settings, autoencoder } = model;
  const isXL = model.checkpoint.kind === 'text-to-image-xl';
  const { width, height } = sizeOf(request, model);
  const texts = textsOf(request, model);
  const { guidanceScale } = texts;
  const isGuided = guidanceScale > 1;
  const guidanceRescale = isGuided ? (request.guidanceRescale ?? settings.guidance_rescale) : 0;
  const steps = request.steps ?? settings.steps;
  const resolved = model.sampler(request.sampler, request.schedule);
  const eta = resolved.takesEta ? (request.eta ?? 0) : 0;
  const seeds = request.seeds.length > 0 ? request.seeds : [randomInt(2 ** 32)];
  const sizes = sizesOf(request, width, height);

  const off = `guidance is off (guidance_scale ${guidanceScale})`;
  const ignored = [
    ...texts.ignored,
    ...(texts.negativePrompt && !isGuided ? [`negative_prompt: ${off}`] : []),
    ...(request.guidanceRescale && !isGuided ? [`guidance_rescale: ${off}`] : []),
    ...(request.eta && !resolved.takesEta ? [`eta: sampler ${resolved.name} has no use for it`] : []),
    ...(request.sizeConditioning && !isXL ? [`size_conditioning: ${model.name} has no use for it`] : []),
  ];
  const { prompt, negativePrompt, clipSkip } = texts;
  const { count } = request;
  const shared = { prompt, negativePrompt, count, seeds, guidanceScale, guidanceRescale, clipSkip };
  const names = { model: model.name, sampler: resolved.name, schedule: resolved.schedule };
  return {
    work: {
      ...shared,
      sizes,
      shape: [autoencoder.channels, height / autoencoder.scale, width / autoencoder.scale],
      sampler: resolved.create({ steps, eta }),
      previewAt: previewSteps(request),
      estimate: estimator(resolved.config),
    },
    effective: {
      ...{ ...shared, ...names, width, height, steps, eta, ignored },
      ...(isXL && { sizeConditioning: sizes }),
    },
  };
}

/** What was run, once it has been. */
export function effectiveOf({ effective }: Planned, outcome: Outcome, modelHash: string): Effective {
  const cut = Object.entries(outcome.cutTokens).filter(([, tokens]) => tokens > 0);
  const ignored = cut.map(([field, tokens]) => `${field}: its last ${tokens} tokens do not fit`);
  return { ...effective, modelHash, stepsRun: outcome.stepsRun, ignored: [...effective.ignored, ...ignored] };
}

/** For the file of the image with that seed. */
export function parametersOf(effective: Effective, seed: number): ImageParameters {
  const negativePrompt = effective.guidanceScale > 1 ? effective.negativePrompt : '';
  return { ...effective, negativePrompt, seed };
}

function sizeOf(request: ImageRequest, model: Model): { width: number; height: number } {
  const own = defaultSize(model.checkpoint);
  const width = request.width ?? model.settings.width ?? own.width;
  const height = request.height ?? model.settings.height ?? own.height;
  const { scale } = model.autoencoder;
  for (const [field, value] of Object.entries({ width, height }))
    if (value % scale !== 0) throw errors.invalidArgument(field, `a multiple of ${scale}`, value);
  return { width, height };
}

/** What a request says in words, and how much it counts; of a model without a prompt, nothing. */
function textsOf(request: ImageRequest, model: Model) {
  const { prompt, negativePrompt, guidanceScale } = request;
  if (model.textEncoders.length > 0) {
    if (prompt === undefined) throw errors.invalidArgument('prompt', `text, for ${model.name}`, prompt);
    const clipSkip = clipSkipOf(request, model);
    return {
      ...{ prompt, negativePrompt, clipSkip, ignored: [] },
      guidanceScale: guidanceScale ?? defaultGuidance(model.settings, model.family),
    };
  }
  const asked = {
    prompt,
    negative_prompt: negativePrompt,
    guidance_scale: guidanceScale,
    clip_skip: request.clipSkip,
  };
  const ignored = Object.entries(asked).flatMap(([field, value]) =>
    value ? [`${field}: ${model.name} takes no text`] : [],
  );
  return { prompt: '', negativePrompt: '', clipSkip: 0, guidanceScale: 1, ignored };
}

function clipSkipOf({ clipSkip = 0 }: ImageRequest, model: Model): number {
  const layers = Math.min(...model.textEncoders.map(({ config }) => config.num_hidden_layers));
  const most = layers - 1;
  if (clipSkip > most)
    throw errors.invalidArgument(
      'clip_skip',
      `a whole number from 0 to ${most}, for ${model.name}`,
      clipSkip,
    );
  return clipSkip;
}

/** What was left out is the size of the image itself, uncropped. */
function sizesOf(
  { sizeConditioning: asked = {} }: ImageRequest,
  width: number,
  height: number,
): SizeConditioning {
  return {
    originalWidth: asked.originalWidth || width,
    originalHeight: asked.originalHeight || height,
    cropLeft: asked.cropLeft ?? 0,
    cropTop: asked.cropTop ?? 0,
    targetWidth: asked.targetWidth || width,
    targetHeight: asked.targetHeight || height,
  };
}

/** Every so many steps, or so many in all; the last step has the picture itself. */
function previewSteps({ previewInterval, previewCount }: ImageRequest): Work['previewAt'] {
  if (previewInterval > 0) return (step, total) => step < total && step % previewInterval === 0;
  const places = Array.from({ length: previewCount }, (_, i) => (i + 1) / (previewCount + 1));
  return (step, total) => step < total && places.some((place) => Math.round(place * total) === step);
}
