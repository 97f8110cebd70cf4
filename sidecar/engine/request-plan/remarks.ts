import type { ResolvedSampler } from '../../samplers/index.ts';
import type { Hires } from '../hires.ts';
import type { OpenModel } from '../open-model.ts';
import type { Handover } from '../refine.ts';
import type { ImageRequest } from '../request.ts';
import type { Pictures } from './pictures.ts';

interface Guided {
  guidanceScale: number;
  negativePrompt: string;
}

/** Fields that were asked for and count for nothing, each with the reason. */
export function ignoredIn(
  request: ImageRequest,
  { mask }: Pictures,
  model: OpenModel,
  plan: Guided & { sampler: ResolvedSampler; hires: Hires | undefined; handover: Handover | undefined },
): string[] {
  const { sampler, hires, handover } = plan;
  const isGuided = plan.guidanceScale > 1;
  const off = `guidance is off (guidance_scale ${plan.guidanceScale})`;
  const isXL = model.checkpoint.kind === 'text-to-image-xl';
  const { format = 'IMAGE_FORMAT_PNG' } = request;
  const hasPreviews = request.previewInterval > 0 || request.previewCount > 0;
  const idle: [unknown, string][] = [
    [plan.negativePrompt && !isGuided, `negative_prompt: ${off}`],
    [request.guidanceRescale && !isGuided, `guidance_rescale: ${off}`],
    [request.eta && !sampler.takesEta, `eta: sampler ${sampler.name} has no use for it`],
    [request.sizeConditioning && !isXL, `size_conditioning: ${model.name} has no use for it`],
    [request.hiresStrength !== undefined && !hires, 'hires_strength: there is no hires_scale'],
    [request.hiresUpscaler && !hires, 'hires_upscaler: there is no hires_scale'],
    [request.quality !== undefined && format === 'IMAGE_FORMAT_PNG', 'quality: PNG loses nothing'],
    [request.maskChannel && !mask, 'mask_channel: there is no mask'],
    [request.refinerStart !== undefined && !handover, 'refiner_start: there is no refiner'],
    [request.previewDecoder && !hasPreviews, 'preview_decoder: there are no previews'],
    ...request.adapters.map(({ name, scale }): [unknown, string] => [
      scale === 0,
      `adapters: ${name} has a scale of 0`,
    ]),
  ];
  return idle.flatMap(([isIdle, remark]) => (isIdle ? [remark] : []));
}

/** What a caller may want to know besides. */
export function notesOn(
  request: ImageRequest,
  model: OpenModel,
  plan: Guided & { steps: number; strength: number | undefined },
): string[] {
  const notes: string[] = [];
  if (model.isFewStep && plan.guidanceScale > 1)
    notes.push(`guidance_scale: two evaluations at each step; ${model.name} was distilled to need one`);
  if (request.steps === undefined && plan.steps > model.defaults.steps)
    notes.push(`steps: ${plan.steps}, of which strength ${plan.strength} leaves one to run`);
  return notes;
}
