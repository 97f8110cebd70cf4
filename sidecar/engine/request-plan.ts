import { randomInt } from 'node:crypto';
import { errors } from '../errors.ts';
import { defaultSize } from '../models/components.ts';
import { firstEvaluation, type Sampler } from '../samplers/index.ts';
import type { Source } from './beginnings/index.ts';
import type { SizeConditioning } from './conditioning/stable-diffusion-xl.ts';
import { ignoredControls } from './control/plan.ts';
import type { PlannedEffective } from './effective.ts';
import { stepsForStrength } from './few-step.ts';
import type { Hires } from './hires.ts';
import { DEFAULT_QUALITY } from './image-file.ts';
import type { Work } from './latent-diffusion.ts';
import type { OpenModel } from './open-model.ts';
import { openPicture, type Picture, transparentIn } from './picture.ts';
import { checkPixels, finalSize } from './pixel-limit.ts';
import { estimator } from './preview.ts';
import type { Handover } from './refine.ts';
import type { ImageRequest } from './request.ts';

/** The first two as in diffusers. */
const DEFAULT_STRENGTH = { image: 0.8, inpainting: 1, hires: 0.5 };

/** As the published refiner was trained: for the last fifth of the noise schedule. */
const DEFAULT_HANDOVER = 0.8;

/** The pictures of a request, by what they are for. */
export interface Pictures {
  image?: Picture | undefined;
  mask?: Picture | undefined;
}

/** @throws ServiceError invalid_argument for what is no picture, and a mask that fits none. */
export async function openPictures(request: ImageRequest): Promise<Pictures> {
  const image = request.initImage && (await openPicture(request.initImage, 'init_image'));
  const mask = request.mask && (await openMask(request.mask, request.maskChannel));
  if (mask && !image) throw errors.unexpected('init_image', 'an image, as there is a mask,', 'nothing');
  const size = ({ width, height }: Picture) => `${width}x${height}`;
  if (mask && image && size(mask) !== size(image))
    throw errors.unexpected('mask', `${size(image)} pixels, as init_image has,`, size(mask));
  return { image, mask };
}

/** A mask whose grey values say what is made anew. */
async function openMask(file: Uint8Array, channel: ImageRequest['maskChannel']): Promise<Picture> {
  const picture = await openPicture(file, 'mask');
  if (channel === 'darkness')
    return { ...picture, grey: async (size) => (await picture.grey(size)).map((value) => 255 - value) };
  if (channel !== 'alpha') return picture;
  const mask = transparentIn(picture);
  if (!mask)
    throw errors.unexpected(
      'mask',
      'an image with an alpha channel, as mask_channel is alpha,',
      'one without',
    );
  return mask;
}

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
  const isXL = model.checkpoint.kind === 'text-to-image-xl';
  const { width, height } = sizeOf(request, pictures, model);
  const texts = textsOf(request, model);
  const { guidanceScale } = texts;
  const isGuided = guidanceScale > 1;
  const guidanceRescale = isGuided ? (request.guidanceRescale ?? settings.guidance_rescale) : 0;
  const steps = request.steps ?? defaultSteps(request, pictures, model);
  const resolved = model.sampler(request.sampler, request.schedule);
  const { guessMode = false } = request;
  const eta = resolved.takesEta ? (request.eta ?? 0) : 0;
  const seeds = request.seeds.length > 0 ? request.seeds : [randomInt(2 ** 32)];
  const sizes = sizesOf(request, width, height);
  const sampler = resolved.create({ steps, eta });
  const { source, strength, ...beginning } = sourceOf(request, pictures, model, sampler, steps);

  const at = handoverAt(request, sampler, resolved.config);
  const handover = at === undefined ? undefined : { at, sampler: resolved.create({ steps, eta }) };

  const hiresSteps = request.steps ?? hiresDefaultSteps(request, model);
  const again = () => resolved.create({ steps: hiresSteps, eta });
  const hires = hiresOf(request, { width, height }, model, again, hiresSteps);
  checkPixels(request, finalSize(request, pictures, hires, { width, height, scale: latentSpace.scale }));

  const { format = 'IMAGE_FORMAT_PNG' } = request;
  const off = `guidance is off (guidance_scale ${guidanceScale})`;
  const ignored = [
    ...texts.ignored,
    ...(texts.negativePrompt && !isGuided ? [`negative_prompt: ${off}`] : []),
    ...(request.guidanceRescale && !isGuided ? [`guidance_rescale: ${off}`] : []),
    ...(request.eta && !resolved.takesEta ? [`eta: sampler ${resolved.name} has no use for it`] : []),
    ...(request.sizeConditioning && !isXL ? [`size_conditioning: ${model.name} has no use for it`] : []),
    ...beginning.ignored,
    ...(request.hiresStrength !== undefined && !hires ? ['hires_strength: there is no hires_scale'] : []),
    ...(request.hiresUpscaler && !hires ? ['hires_upscaler: there is no hires_scale'] : []),
    ...(request.quality !== undefined && format === 'IMAGE_FORMAT_PNG' ? ['quality: PNG loses nothing'] : []),
    ...(request.maskChannel && !pictures.mask ? ['mask_channel: there is no mask'] : []),
    ...(request.refinerStart !== undefined && !handover ? ['refiner_start: there is no refiner'] : []),
    ...(request.previewDecoder && !request.previewInterval && !request.previewCount
      ? ['preview_decoder: there are no previews']
      : []),
    ...request.adapters.flatMap(({ name, scale }) =>
      scale === 0 ? [`adapters: ${name} has a scale of 0`] : [],
    ),
    ...ignoredControls(request.control, guessMode, { work: { sampler, source, steps }, handover, hires }),
  ];
  const notes = [
    ...(model.isFewStep && isGuided
      ? [`guidance_scale: two evaluations at each step; ${model.name} was distilled to need one`]
      : []),
    ...(request.steps === undefined && steps > model.defaults.steps
      ? [`steps: ${steps}, of which strength ${strength} leaves one to run`]
      : []),
  ];
  const { prompt, negativePrompt, clipSkip } = texts;
  const { count, promptSyntax = 'weighted' } = request;
  const words = { prompt, negativePrompt, promptSyntax, clipSkip };
  const shared = { ...words, count, seeds, guidanceScale, guidanceRescale };
  const names = { model: model.name, sampler: resolved.name, schedule: resolved.schedule };
  return {
    handover,
    hires,
    work: {
      ...shared,
      sizes,
      shape: [latentSpace.channels, height / latentSpace.scale, width / latentSpace.scale],
      steps,
      sampler,
      source,
      // Latents that are enlarged as they are need no picture.
      end: hires && hires.upscaler !== 'pixel' ? sampler.timesteps.length : undefined,
      previewAt: previewSteps(request),
      estimate: estimator(resolved.config),
    },
    effective: {
      ...{
        ...shared,
        ...names,
        width,
        height,
        steps,
        eta,
        strength,
        adapters: request.adapters,
        guessMode,
        ignored,
        notes,
      },
      format,
      quality: format === 'IMAGE_FORMAT_PNG' ? undefined : (request.quality ?? DEFAULT_QUALITY),
      ...(pictures.mask && {
        maskBlur: request.maskBlur ?? 0,
        onlyMaskedPadding: request.onlyMaskedPadding,
        keepUnmasked: request.keepUnmasked || request.onlyMaskedPadding !== undefined,
      }),
      sizeConditioning: isXL ? sizes : undefined,
      hiresScale: hires && request.hiresScale,
      hiresStrength: hires && (request.hiresStrength ?? DEFAULT_STRENGTH.hires),
      hiresUpscaler: hires?.upscaler,
      ...(handover && { refiner: request.refiner, refinerStart: request.refinerStart ?? DEFAULT_HANDOVER }),
    },
  };
}

/** As large as was asked for; else as the picture to begin from, in whole latents; else as the model's own. */
function sizeOf(
  request: ImageRequest,
  { image }: Pictures,
  model: OpenModel,
): { width: number; height: number } {
  const step = model.sizeStep;
  const trained = defaultSize(model.checkpoint);
  const whole = (pixels: number) => pixels - (pixels % step);
  // Of a part of the picture, any size will do.
  const own =
    image && request.onlyMaskedPadding === undefined
      ? { width: whole(image.width), height: whole(image.height) }
      : { width: model.settings.width ?? trained.width, height: model.settings.height ?? trained.height };
  const { width = own.width, height = own.height } = request;
  for (const [field, value] of Object.entries({ width, height }))
    if (value % step !== 0 || value < step || value > 4096)
      throw errors.invalidArgument(field, `a multiple of ${step} from ${step} to 4096`, value);
  return { width, height };
}

/** The model's own; of one that needs but a few, enough for image to image to begin at its strength. */
function defaultSteps(request: ImageRequest, { image, mask }: Pictures, model: OpenModel): number {
  const { steps } = model.defaults;
  return image && model.isFewStep ? stepsForStrength(steps, strengthOf(request, mask)) : steps;
}

function hiresDefaultSteps(
  { hiresStrength = DEFAULT_STRENGTH.hires }: ImageRequest,
  model: OpenModel,
): number {
  const { steps } = model.defaults;
  return model.isFewStep ? stepsForStrength(steps, hiresStrength) : steps;
}

function strengthOf(request: ImageRequest, mask: Picture | undefined): number {
  return request.strength ?? DEFAULT_STRENGTH[mask ? 'inpainting' : 'image'];
}

/** Where the run begins, by the pictures that came along. */
function sourceOf(
  request: ImageRequest,
  { image, mask }: Pictures,
  model: OpenModel,
  sampler: Sampler,
  steps: number,
): { source?: Source; strength?: number; ignored: string[] } {
  if (model.inpaints && !(image && mask)) {
    const field = image ? 'mask' : 'init_image';
    throw errors.unexpected(field, `an image, as ${model.name} is for inpainting,`, 'nothing');
  }
  const asked = {
    strength: request.strength !== undefined && !image,
    mask_blur: request.maskBlur && !mask,
    only_masked_padding: request.onlyMaskedPadding !== undefined && !mask,
    keep_unmasked: request.keepUnmasked && !mask,
  };
  const ignored = Object.entries(asked).flatMap(([field, isIdle]) =>
    isIdle ? [`${field}: there is no ${field === 'strength' ? 'init_image' : 'mask'}`] : [],
  );
  if (!image) return { ignored };
  if (!model.latentSpace.encodes)
    throw errors.unexpected('init_image', `nothing, as ${model.name} encodes no images,`, 'an image');
  const strength = strengthOf(request, mask);
  if (steps * strength < 1)
    ignored.push(`strength: ${strength} of ${steps} steps is less than one; one was run`);
  const first = firstEvaluation(sampler, steps, strength);
  return { source: { image, mask, first, isNoise: strength === 1 }, strength, ignored };
}

/** A second pass at a multiple of the size, in whole latents. */
function hiresOf(
  request: ImageRequest,
  size: { width: number; height: number },
  { latentSpace, sizeStep, name }: OpenModel,
  sampler: () => Sampler,
  steps: number,
): Hires | undefined {
  const { hiresScale, hiresStrength = DEFAULT_STRENGTH.hires, hiresUpscaler = 'pixel', mask } = request;
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

/** The first evaluation of the refiner's share of the noise schedule, at the beginning of a step. */
function handoverAt(
  { refiner, refinerStart = DEFAULT_HANDOVER, mask }: ImageRequest,
  { timesteps, evaluationsPerStep }: Sampler,
  { num_train_timesteps }: Record<string, unknown>,
): number | undefined {
  if (!refiner) return undefined;
  if (mask) throw errors.unexpected('refiner', 'nothing, as there is a mask,', 'a model');
  const trained = num_train_timesteps as number;
  const cutoff = Math.round(trained - refinerStart * trained);
  const at = timesteps.findIndex((t) => t < cutoff);
  return at < 0 ? timesteps.length : Math.ceil(at / evaluationsPerStep) * evaluationsPerStep;
}

/** What a request says in words, and how much it counts; of a model without a prompt, nothing. */
function textsOf(request: ImageRequest, model: OpenModel) {
  const { prompt, negativePrompt, guidanceScale } = request;
  if (model.texts.length > 0) {
    if (prompt === undefined) throw errors.invalidArgument('prompt', `text, for ${model.name}`, prompt);
    const clipSkip = clipSkipOf(request, model);
    return {
      ...{ prompt, negativePrompt, clipSkip, ignored: [] },
      guidanceScale: guidanceScale ?? model.defaults.guidanceScale,
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

export function clipSkipOf({ clipSkip = 0 }: Pick<ImageRequest, 'clipSkip'>, model: OpenModel): number {
  const layers = Math.min(...model.texts.map(({ component }) => component.config.num_hidden_layers));
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
export function sizesOf(
  { sizeConditioning: asked = {} }: Pick<ImageRequest, 'sizeConditioning'>,
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
