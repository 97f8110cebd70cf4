import { randomInt } from 'node:crypto';
import { errors } from '../errors.ts';
import { defaultSize } from '../models/components.ts';
import type { Model } from './model.ts';
import type { ImageParameters } from './png.ts';
import { estimator } from './preview.ts';
import type { ImageRequest } from './request.ts';
import type { Outcome, TextToImage } from './text-to-image.ts';

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
  /** What was asked for and had no effect, and why. */
  ignored: string[];
}

/** A request with a model's defaults filled in. */
export interface Planned {
  work: TextToImage;
  effective: Omit<Effective, 'modelHash' | 'stepsRun'>;
}

/**
 * Fills in what a request leaves to the model.
 * @throws ServiceError invalid_argument for what this model cannot do.
 */
export function planRequest(request: ImageRequest, model: Model): Planned {
  const { settings } = model;
  const { width, height } = sizeOf(request, model);
  const guidanceScale = request.guidanceScale ?? settings.guidance_scale;
  const isGuided = guidanceScale > 1;
  const guidanceRescale = isGuided ? (request.guidanceRescale ?? settings.guidance_rescale) : 0;
  const steps = request.steps ?? settings.steps;
  const resolved = model.sampler(request.sampler, request.schedule);
  const eta = resolved.takesEta ? (request.eta ?? 0) : 0;
  const seeds = request.seeds.length > 0 ? request.seeds : [randomInt(2 ** 32)];
  const clipSkip = clipSkipOf(request, model);

  const off = `guidance is off (guidance_scale ${guidanceScale})`;
  const ignored = [
    ...(request.negativePrompt && !isGuided ? [`negative_prompt: ${off}`] : []),
    ...(request.guidanceRescale && !isGuided ? [`guidance_rescale: ${off}`] : []),
    ...(request.eta && !resolved.takesEta ? [`eta: sampler ${resolved.name} has no use for it`] : []),
  ];
  const { prompt, negativePrompt, count } = request;
  const shared = { prompt, negativePrompt, count, seeds, guidanceScale, guidanceRescale, clipSkip };
  const names = { model: model.name, sampler: resolved.name, schedule: resolved.schedule };
  return {
    work: {
      ...shared,
      size: { width: width / model.scale, height: height / model.scale },
      sampler: resolved.create({ steps, eta }),
      previewAt: previewSteps(request),
      estimate: estimator(resolved.config),
    },
    effective: { ...shared, ...names, width, height, steps, eta, ignored },
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
  for (const [field, value] of Object.entries({ width, height }))
    if (value % model.scale !== 0) throw errors.invalidArgument(field, `a multiple of ${model.scale}`, value);
  return { width, height };
}

function clipSkipOf({ clipSkip = 0 }: ImageRequest, model: Model): number {
  const layers = model.checkpoint.text_encoder.config.num_hidden_layers;
  if (clipSkip >= layers)
    throw errors.invalidArgument(
      'clip_skip',
      `a whole number from 0 to ${layers - 1}, for ${model.name}`,
      clipSkip,
    );
  return clipSkip;
}

/** Every so many steps, or so many in all; the last step has the picture itself. */
function previewSteps({ previewInterval, previewCount }: ImageRequest): TextToImage['previewAt'] {
  if (previewInterval > 0) return (step, total) => step < total && step % previewInterval === 0;
  const places = Array.from({ length: previewCount }, (_, i) => (i + 1) / (previewCount + 1));
  return (step, total) => step < total && places.some((place) => Math.round(place * total) === step);
}
