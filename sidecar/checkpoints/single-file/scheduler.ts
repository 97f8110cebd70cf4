import { readTensors } from '../safetensors.ts';
import { isTurbo } from './lineage.ts';
import type { CheckpointOptions } from './options.ts';
import type { Lineage } from './part.ts';
import type { Tensors } from './tensors.ts';

export interface Prediction {
  type: 'epsilon' | 'v_prediction';
  zeroTerminalSnr: boolean;
}

/** A file's own words about itself: ModelSpec (github.com/Stability-AI/ModelSpec) in its metadata. */
export type Metadata = Readonly<Record<string, string>>;

/**
 * What the U-Net predicts. Said by, in this order: the settings beside the file; the empty tensors `v_pred` and `ztsnr`
 * that trainers of SDXL leave as marks; the file's metadata; for 2.x, where nothing says it, a guess from a weight.
 */
export async function predictionOf(
  file: Tensors,
  unet: Tensors,
  lineage: Lineage,
  metadata: Metadata,
  options: CheckpointOptions,
): Promise<Prediction> {
  const type =
    options.prediction_type ??
    (file.has('v_pred') ? 'v_prediction' : undefined) ??
    fromMetadata(metadata) ??
    (lineage === 'sd2' && !isTurbo(file.file) ? await guess(unet) : 'epsilon');
  const marked = type === 'v_prediction' && file.has('ztsnr');
  return { type, zeroTerminalSnr: options.zero_terminal_snr ?? marked };
}

function fromMetadata(metadata: Metadata): Prediction['type'] | undefined {
  const said = metadata['modelspec.prediction_type']?.toLowerCase();
  if (said === 'v' || said === 'v_prediction') return 'v_prediction';
  if (said === 'epsilon' || said === 'eps') return 'epsilon';
  const architecture = metadata['modelspec.architecture'] ?? '';
  if (/^stable-diffusion-v2-768-v\b/.test(architecture)) return 'v_prediction';
  return /^stable-diffusion-v2-512\b/.test(architecture) ? 'epsilon' : undefined;
}

/**
 * 2.0-base and 2.1-base predict noise, 2.0 and 2.1 at 768 pixels velocity, with the same tensors. Their last
 * transformer's biases differ in spread: above 0.09 it is velocity. Source of the rule: github.com/comfyanonymous/ComfyUI,
 * supported_models.py. Inpainting models predict noise.
 */
async function guess(unet: Tensors): Promise<Prediction['type']> {
  if (unet.shape('input_blocks.0.0.weight', 4)[1] !== 4) return 'epsilon';
  const bias = unet.get('output_blocks.11.1.transformer_blocks.0.norm1.bias');
  if (!bias) return 'v_prediction';
  const read = await readTensors(unet.file, (name) => name === bias.name);
  const data = [...read.get(bias.name)!.data];
  const mean = data.reduce((a, b) => a + b, 0) / data.length;
  const variance = data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length;
  return Math.sqrt(variance) > 0.09 ? 'v_prediction' : 'epsilon';
}

const schedulers: Record<Lineage, string> = {
  sd1: 'PNDMScheduler',
  sd2: 'DDIMScheduler',
  sdxl: 'EulerDiscreteScheduler',
  'sdxl-refiner': 'EulerDiscreteScheduler',
};

const turboSchedulers: Record<Lineage, string> = {
  ...schedulers,
  sd2: 'EulerDiscreteScheduler',
  sdxl: 'EulerAncestralDiscreteScheduler',
};

/** scheduler_config.json of the published folder of that lineage, or of the turbo model that descends from it. */
export function schedulerConfig(
  lineage: Lineage,
  { type, zeroTerminalSnr }: Prediction,
  turbo = false,
): Record<string, unknown> {
  const own = turbo ? turboSchedulers[lineage] : schedulers[lineage];
  // PNDM knows no schedule that ends in pure noise.
  return {
    _class_name: zeroTerminalSnr && own === 'PNDMScheduler' ? 'DDIMScheduler' : own,
    beta_start: 0.00085,
    beta_end: 0.012,
    beta_schedule: 'scaled_linear',
    num_train_timesteps: 1000,
    prediction_type: type,
    steps_offset: 1,
    set_alpha_to_one: false,
    skip_prk_steps: true,
    clip_sample: false,
    // Pure noise at the end of training has to be where sampling begins.
    timestep_spacing: zeroTerminalSnr || turbo ? 'trailing' : 'leading',
    ...(zeroTerminalSnr && { rescale_betas_zero_snr: true }),
  };
}
