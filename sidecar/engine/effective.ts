import type { SigmaSchedule } from '../samplers/sigmas.ts';
import { samplers, schedules } from '../samplers/table.ts';
import type { AdapterRequest } from './adapter-files.ts';
import type { PromptSyntax } from './conditioning/reading.ts';
import type { SizeConditioning } from './conditioning/stable-diffusion-xl.ts';
import type { EffectiveControl } from './control/plan.ts';
import { type Upscaler, upscalerLabels } from './hires.ts';
import type { ImageFormat } from './image-file.ts';
import type { Outcome } from './latent-diffusion.ts';
import type { MaskedContent } from './masked-content.ts';
import type { ImageParameters } from './png.ts';

/** A request as it was run, every default filled in. */
export interface Effective {
  model: string;
  modelHash: string;
  prompt: string;
  negativePrompt: string;
  promptSyntax: PromptSyntax;
  width: number;
  height: number;
  count: number;
  seeds: number[];
  steps: number;
  stepsRun: number;
  guidanceScale: number;
  guidanceRescale: number;
  sampler: string;
  schedule: SigmaSchedule;
  eta: number;
  clipSkip: number;
  /** Stable Diffusion XL only. */
  sizeConditioning?: SizeConditioning | undefined;
  /** Image to image: the share of the steps that is run. */
  strength?: number | undefined;
  /** The model that went on from `refinerStart`, the share of the noise schedule that lay behind by then. */
  refiner?: string | undefined;
  refinerStart?: number | undefined;
  /** The second pass, at a larger size. */
  hiresScale?: number | undefined;
  hiresStrength?: number | undefined;
  hiresUpscaler?: Upscaler | undefined;
  /** Inpainting. */
  maskBlur?: number | undefined;
  onlyMaskedPadding?: number | undefined;
  keepUnmasked?: boolean | undefined;
  maskedContent?: MaskedContent | undefined;
  /** What made the pictures: "model", or the name of an AutoencoderTiny. */
  decoder: string;
  adapters: AdapterRequest[];
  format: ImageFormat;
  /** 1…100; not of PNG. */
  quality?: number | undefined;
  control: EffectiveControl[];
  guessMode: boolean;
  /** What was asked for and had no effect, and why. */
  ignored: string[];
  /** What is worth knowing of the rest: what something costs, what was chosen for it. */
  notes: string[];
}

/** What is known of it before it is run. */
export type PlannedEffective = Omit<Effective, 'modelHash' | 'stepsRun' | 'control' | 'decoder'>;

/** What was run, once it has been. */
export function effectiveOf(
  effective: PlannedEffective,
  outcome: Outcome,
  run: Pick<Effective, 'modelHash' | 'control' | 'decoder'>,
): Effective {
  const cut = Object.entries(outcome.cutTokens).filter(([, tokens]) => tokens > 0);
  const ignored = cut.map(([field, tokens]) => `${field}: its last ${tokens} tokens do not fit`);
  return { ...effective, ...run, stepsRun: outcome.stepsRun, ignored: [...effective.ignored, ...ignored] };
}

/** For the file of the image with that seed. */
export function parametersOf(effective: Effective, seed: number): ImageParameters {
  const { schedule, hiresUpscaler } = effective;
  return {
    ...effective,
    negativePrompt: effective.guidanceScale > 1 ? effective.negativePrompt : '',
    sampler: samplers.find(({ name }) => name === effective.sampler)?.label ?? effective.sampler,
    schedule: schedule === 'default' ? undefined : schedules[schedule].label,
    hiresUpscaler: hiresUpscaler && upscalerLabels[hiresUpscaler],
    seed,
  };
}
