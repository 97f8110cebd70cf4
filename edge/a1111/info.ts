import type { EffectiveParameters, GenerateRequest, Image } from '../sidecar/client.ts';
import { parametersOf } from './parameters-text.ts';

export interface Made {
  /** What stands in the files. */
  infotexts: string[];
  ignored: string[];
  images: Image[];
}

/** `info` of a reply: what was run, as that UI names it. Of an interrupted run, what was asked for. */
export function infoOf(
  body: { sampler_name?: string | null | undefined },
  request: GenerateRequest,
  effective: EffectiveParameters | undefined,
  { infotexts, ignored, images }: Made,
) {
  const seeds = (effective?.seeds ?? request.seeds ?? []) as number[];
  const prompt = effective?.prompt ?? request.prompt ?? '';
  const negative = effective?.negativePrompt ?? request.negativePrompt ?? '';
  const written = parametersOf(infotexts[0] ?? '');
  const schedule = written['Schedule type'];
  const all = <T>(value: T): T[] => seeds.map(() => value);
  return {
    ...{ prompt, all_prompts: all(prompt), negative_prompt: negative, all_negative_prompts: all(negative) },
    ...{ seed: seeds[0], all_seeds: seeds, subseed: seeds[0], all_subseeds: seeds, subseed_strength: 0 },
    width: effective?.width ?? request.width,
    height: effective?.height ?? request.height,
    sampler_name: written.Sampler ?? body.sampler_name ?? '',
    cfg_scale: effective?.guidanceScale ?? request.guidanceScale ?? null,
    steps: effective?.steps ?? request.steps,
    batch_size: images.length,
    restore_faces: false,
    face_restoration_model: null,
    sd_model_name: effective?.model ?? request.model ?? '',
    sd_model_hash: effective?.modelHash.slice(0, 10) ?? '',
    seed_resize_from_w: -1,
    seed_resize_from_h: -1,
    denoising_strength: effective?.strength ?? effective?.hiresStrength ?? null,
    extra_generation_params: schedule === undefined ? {} : { 'Schedule type': schedule },
    index_of_first_image: 0,
    infotexts,
    styles: [],
    job_timestamp: new Date().toISOString().replace(/\D/g, '').slice(0, 14),
    clip_skip: (effective?.clipSkip ?? 0) + 1,
    is_using_inpainting_conditioning: false,
    /** Not that UI's: what was asked for and had no effect, and why. */
    ignored: [...(effective?.ignored ?? []), ...ignored],
    notes: effective?.notes ?? [],
  };
}
