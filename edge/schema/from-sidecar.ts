import { publicName } from '../errors.ts';
import type { EffectiveParameters, Model, Result } from '../sidecar/client.ts';
import { toOutputFormat } from './formats.ts';
import type { Effective, Usage } from './replies.ts';

/** The parameters as this API names them; `ignored` are those that the edge itself has set aside. */
export function effectiveOf(p: EffectiveParameters, ignored: string[]): Effective {
  const sizes = p.sizeConditioning;
  return {
    model: p.model,
    model_hash: p.modelHash,
    prompt: p.prompt,
    negative_prompt: p.negativePrompt,
    prompt_syntax: p.promptSyntax,
    width: p.width,
    height: p.height,
    seeds: p.seeds,
    steps: p.steps,
    steps_run: p.stepsRun,
    guidance_scale: p.guidanceScale,
    guidance_rescale: p.guidanceRescale,
    sampler: p.sampler,
    schedule: p.schedule,
    eta: p.eta,
    clip_skip: p.clipSkip,
    loras: p.adapters.map(({ name, scale }) => ({ name, scale: scale ?? 1 })),
    // What was not part of it is left out of the JSON.
    strength: p.strength,
    mask_blur: p.maskBlur,
    only_masked_padding: p.onlyMaskedPadding,
    keep_unmasked: p.keepUnmasked,
    masked_content: p.maskedContent,
    refiner: p.refiner || undefined,
    refiner_start: p.refinerStart,
    hires_scale: p.hiresScale,
    hires_strength: p.hiresStrength,
    hires_upscaler: p.hiresUpscaler || undefined,
    decoder: p.decoder || 'model',
    size_conditioning: sizes
      ? {
          original_width: sizes.originalWidth,
          original_height: sizes.originalHeight,
          crop_left: sizes.cropLeft,
          crop_top: sizes.cropTop,
          target_width: sizes.targetWidth,
          target_height: sizes.targetHeight,
        }
      : undefined,
    output_format: toOutputFormat(p.format),
    output_compression: p.quality,
    control: p.control.length > 0 ? p.control.map(controlOf) : undefined,
    guess_mode: p.guessMode || undefined,
    ignored: [...p.ignored.map(withPublicName), ...ignored],
    notes: p.notes.map(withPublicName),
  };
}

function controlOf({ unit, modelHash, evaluations }: EffectiveParameters['control'][number]) {
  const { model, preprocessor, preprocessorOptions, resize, scale, start, end, mode, levelScale } = unit!;
  return {
    ...{ model, model_hash: modelHash, preprocessor, preprocessor_options: preprocessorOptions, resize },
    scale: scale.length === 1 ? scale[0]! : scale,
    ...{ start: start ?? 0, end: end ?? 1, mode, level_scale: levelScale, evaluations },
  };
}

/** `adapters: …` → `loras: …` */
function withPublicName(line: string): string {
  const [field] = line.split(':', 1) as [string];
  return publicName(field) + line.slice(field.length);
}

/** Tokens read; a diffusion model writes none. */
export function usageOf({ textTokens }: Result): Usage {
  return {
    total_tokens: textTokens,
    input_tokens: textTokens,
    output_tokens: 0,
    input_tokens_details: { text_tokens: textTokens, image_tokens: 0 },
  };
}

export function modelOf(model: Model) {
  const hasDefaults = model.kind === 'latent-diffusion';
  return {
    id: model.name,
    object: 'model' as const,
    created: model.created,
    owned_by: 'latent-edge',
    kind: model.kind,
    family: model.family,
    default: model.isDefault,
    loaded: model.loaded,
    bytes: model.bytes,
    model_hash: model.modelHash || undefined,
    ...(hasDefaults && {
      size: `${model.width}x${model.height}`,
      steps: model.steps,
      guidance_scale: model.guidanceScale,
      sampler: model.sampler,
    }),
  };
}
