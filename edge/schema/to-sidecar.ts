import { ApiError, invalid } from '../errors.ts';
import type { GenerateRequest } from '../sidecar/client.ts';
import { rejectForeignNames } from './foreign-names.ts';
import { type GenerationBody, generationBody, MAX_REPLY_PIXELS, MAX_SEED, parseSize } from './generation.ts';

/** Fields of OpenAI's API that change nothing here. */
const withoutEffect = ['quality', 'style', 'background', 'moderation', 'user', 'output_compression'] as const;

/** Fields that would change the picture, and that this server does not have: better refused than ignored. */
const unsupported = [
  ...['control', 'controlnet', 'control_net', 'controlnets', 'control_image', 'alwayson_scripts'],
  ...['strength', 'denoising_strength', 'image', 'images', 'init_image', 'init_images', 'mask', 'mask_image'],
  ...['input_fidelity', 'refiner', 'refiner_start', 'refiner_checkpoint', 'enable_hr', 'hr_scale'],
  ...['mask_blur', 'only_masked_padding', 'keep_unmasked', 'hires_scale', 'size_conditioning'],
];

/**
 * A validated body as the sidecar's request.
 * @returns the request, and what of the body has no effect.
 * @throws ApiError where fields do not go together.
 */
export function toGenerateRequest(body: GenerationBody): { request: GenerateRequest; ignored: string[] } {
  rejectForeignNames(body);
  for (const name of unsupported) {
    if (body[name] === undefined || body[name] === null) continue;
    throw new ApiError(400, 'unsupported_parameter', `Expected no ${name}: this server does not support it`, {
      param: name,
    });
  }
  const n = body.n ?? 1;
  const size = body.size && body.size !== 'auto' ? parseSize(body.size) : undefined;
  const most = size ? Math.floor(MAX_REPLY_PIXELS / (size.width * size.height)) : n;
  if (n > most)
    throw invalid('n', `at most ${most}, as ${body.size} images are ${MAX_REPLY_PIXELS} pixels then,`, n);
  const seed = body.seed ?? drawSeed();
  if (seed > MAX_SEED - (n - 1))
    throw invalid(
      'seed',
      `at most ${MAX_SEED - (n - 1)}, as the ${n} images have seeds that follow it,`,
      seed,
    );
  const request: GenerateRequest = {
    model: body.model ?? '',
    prompt: body.prompt,
    negativePrompt: body.negative_prompt ?? '',
    promptSyntax: body.prompt_syntax ?? '',
    width: size?.width ?? 0,
    height: size?.height ?? 0,
    count: n,
    seeds: Array.from({ length: n }, (_, i) => seed + i),
    steps: body.steps ?? 0,
    guidanceScale: body.guidance_scale ?? undefined,
    guidanceRescale: body.guidance_rescale ?? undefined,
    sampler: body.sampler ?? '',
    schedule: body.schedule ?? '',
    eta: body.eta ?? undefined,
    clipSkip: body.clip_skip ?? undefined,
    adapters: (body.loras ?? []).map(({ name, scale }) => ({ name, scale: scale ?? 1 })),
    previewCount: body.stream ? (body.partial_images ?? 0) : 0,
    format: 'IMAGE_FORMAT_PNG',
  };
  return { request, ignored: ignoredFields(body) };
}

function ignoredFields(body: GenerationBody): string[] {
  const sent = (name: string) => body[name] !== undefined && body[name] !== null && body[name] !== 'auto';
  const unknown = Object.keys(body).filter((name) => !(name in generationBody.shape) && sent(name));
  return [
    ...withoutEffect.filter(sent).map((name) => `${name}: has no effect here`),
    ...(!body.stream && sent('partial_images') ? ['partial_images: only with stream'] : []),
    ...unknown.slice(0, 16).map((name) => `${name.slice(0, 64)}: not known here`),
  ];
}

/** 32 bits: short enough to be typed again. */
function drawSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
