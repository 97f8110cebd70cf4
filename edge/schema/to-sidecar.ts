import { invalid } from '../errors.ts';
import type { Limits } from '../limits.ts';
import type { GenerateRequest } from '../sidecar/client.ts';
import type { ControlUnitBody } from './control.ts';
import { rejectForeignNames } from './foreign-names.ts';
import { type OutputFormat, toImageFormat } from './formats.ts';
import type { GenerationBody } from './generation.ts';
import { withoutEffect } from './openai.ts';
import { MAX_SEED } from './sampling.ts';
import { parseSize } from './size.ts';

export interface Translation {
  limits: Limits;
  /** The seed of a body that names none. */
  drawn: number;
}

/**
 * A validated body as the sidecar's request.
 * @throws ApiError where fields do not go together.
 */
export function toGenerateRequest(body: GenerationBody, { limits, drawn }: Translation): GenerateRequest {
  const size = body.size && body.size !== 'auto' ? parseSize(body.size) : undefined;
  return {
    ...wordsOf(body),
    ...picturesOf(body),
    width: size?.width ?? 0,
    height: size?.height ?? 0,
    count: body.n ?? 1,
    seeds: seedsFrom(body.seed ?? drawn, body.n ?? 1),
    previewCount: body.stream ? (body.partial_images ?? 0) : 0,
    ...encodingOf(body),
    maxPixels: limits.replyPixels,
    priority: body.priority ?? '',
  };
}

function wordsOf(body: GenerationBody): GenerateRequest {
  return {
    model: body.model ?? '',
    prompt: body.prompt,
    negativePrompt: body.negative_prompt ?? '',
    promptSyntax: body.prompt_syntax ?? '',
    steps: body.steps ?? 0,
    guidanceScale: body.guidance_scale ?? undefined,
    guidanceRescale: body.guidance_rescale ?? undefined,
    sampler: body.sampler ?? '',
    schedule: body.schedule ?? '',
    eta: body.eta ?? undefined,
    clipSkip: body.clip_skip ?? undefined,
    adapters: (body.loras ?? []).map(({ name, scale }) => ({ name, scale: scale ?? 1 })),
  };
}

function picturesOf(body: GenerationBody): GenerateRequest {
  const sizes = body.size_conditioning;
  return {
    initImage: body.init_image ?? undefined,
    strength: body.strength ?? undefined,
    mask: body.mask ?? undefined,
    maskChannel: body.mask_channel ?? '',
    maskBlur: body.mask_blur ?? 0,
    onlyMaskedPadding: body.only_masked_padding ?? undefined,
    keepUnmasked: body.keep_unmasked ?? false,
    maskedContent: body.masked_content ?? '',
    control: (body.control ?? []).map(toControlUnit),
    guessMode: body.guess_mode ?? false,
    refiner: body.refiner ?? '',
    refinerStart: body.refiner_start ?? undefined,
    hiresScale: body.hires_scale ?? 0,
    hiresStrength: body.hires_strength ?? undefined,
    hiresUpscaler: body.hires_upscaler ?? '',
    decoder: body.decoder ?? '',
    previewDecoder: body.preview_decoder ?? '',
    sizeConditioning: sizes && {
      originalWidth: sizes.original_width ?? 0,
      originalHeight: sizes.original_height ?? 0,
      cropLeft: sizes.crop_left ?? 0,
      cropTop: sizes.crop_top ?? 0,
      targetWidth: sizes.target_width ?? 0,
      targetHeight: sizes.target_height ?? 0,
    },
  };
}

function toControlUnit(unit: ControlUnitBody) {
  return {
    model: unit.model,
    image: unit.image ?? undefined,
    preprocessor: unit.preprocessor ?? '',
    preprocessorOptions: unit.preprocessor_options ?? {},
    resize: unit.resize ?? '',
    scale: typeof unit.scale === 'number' ? [unit.scale] : (unit.scale ?? []),
    start: unit.start ?? undefined,
    end: unit.end ?? undefined,
    mode: unit.mode ?? '',
    levelScale: unit.level_scale ?? [],
  };
}

function encodingOf(body: GenerationBody): GenerateRequest {
  const format: OutputFormat = body.output_format ?? 'png';
  // OpenAI's scale has a 0, the encoders' has none.
  const quality = body.output_compression ?? undefined;
  return { format: toImageFormat(format), quality: quality === undefined ? undefined : Math.max(1, quality) };
}

/** As many as there are images, each the one after the last. */
export function seedsFrom(first: number, count: number): number[] {
  const last = MAX_SEED - (count - 1);
  if (first > last)
    throw invalid('seed', `at most ${last}, as the ${count} images have seeds that follow it,`, first);
  return Array.from({ length: count }, (_, i) => first + i);
}

/**
 * What of a body has no effect, and why.
 * @param known the fields that the route has.
 * @throws ApiError for fields that other APIs have, and this one calls otherwise.
 */
export function ignoredFields(body: Record<string, unknown>, known: Record<string, unknown>): string[] {
  rejectForeignNames(body, known);
  const sent = (name: string) => body[name] !== undefined && body[name] !== null && body[name] !== 'auto';
  const unknown = Object.keys(body).filter((name) => !Object.hasOwn(known, name) && sent(name));
  return [
    ...withoutEffect.filter(sent).map((name) => `${name}: has no effect here`),
    ...(!body.stream && sent('partial_images') ? ['partial_images: only with stream'] : []),
    ...unknown.slice(0, 16).map((name) => `${name.slice(0, 64)}: not known here`),
  ];
}
