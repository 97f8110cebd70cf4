import type { EffectiveParameters, Model, Result } from '../sidecar/client.ts';
import type { Effective, Usage } from './generation.ts';

/** The parameters as this API names them; `ignored` are those that the edge itself has set aside. */
export function effectiveOf(p: EffectiveParameters, ignored: string[]): Effective {
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
    ignored: [...p.ignored, ...ignored],
    notes: p.notes,
  };
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
  return {
    id: model.name,
    object: 'model' as const,
    created: model.created,
    owned_by: 'latent-edge',
    family: model.family,
    default: model.isDefault,
    loaded: model.loaded,
    bytes: model.bytes,
    size: `${model.width}x${model.height}`,
    steps: model.steps,
    guidance_scale: model.guidanceScale,
    sampler: model.sampler,
  };
}
