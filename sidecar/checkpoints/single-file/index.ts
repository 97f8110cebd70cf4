import { CheckpointError } from '../error.ts';
import { readSafetensors } from '../safetensors.ts';
import { seemsToBe } from './kinds.ts';
import { isTurbo, lineageOf } from './lineage.ts';
import { type CheckpointOptions, readCheckpointOptions } from './options.ts';
import type { FilePart, Lineage } from './part.ts';
import { type Prediction, predictionOf, schedulerConfig } from './scheduler.ts';
import { Tensors } from './tensors.ts';
import { clipPart, openClipPart } from './text.ts';
import { unetPart } from './unet.ts';
import { vaePart } from './vae.ts';

/** A checkpoint in one file, in the naming of the original code, as its folder in diffusers layout would say it. */
export interface SingleFile {
  file: string;
  lineage: Lineage;
  /** The pipeline of that lineage, and what its model_index.json says beside the parts. */
  pipeline: string;
  settings: Map<string, unknown>;
  /** Parts of the lineage; `null` for those that the file lacks. */
  parts: Map<string, FilePart | null>;
  /** scheduler_config.json of the lineage. */
  scheduler: Record<string, unknown>;
  /** A model beside the file that has the parts which it lacks. */
  partsFrom: string | undefined;
}

/**
 * Reads the header of a single-file checkpoint: Stable Diffusion 1.x, 2.x, XL or its refiner, and their inpainting
 * models. What the file is follows from its keys and shapes; what they do not say, from NAME.latent-edge.json beside it.
 * @throws CheckpointError saying what the file seems to be instead, or which tensor is missing.
 */
export async function openSingleFile(path: string): Promise<SingleFile> {
  const { tensors, metadata } = await readSafetensors(path);
  const file = new Tensors(path, new Map(tensors.map((entry) => [entry.name, entry])));
  const unet = unetTensors(file);
  const lineage = lineageOf(file, unet);
  const options = await readCheckpointOptions(path);
  const prediction = await predictionOf(file, unet, lineage, metadata, options);
  const turbo = isTurbo(path);
  const inpainting = unet.shape('input_blocks.0.0.weight', 4)[1] === 9;
  const parts = new Map<string, FilePart | null>([
    ...textParts(file, lineage),
    ['unet', unetPart(unet, lineage, turbo ? 64 : sampleSize(lineage, prediction, inpainting))],
    ['vae', autoencoder(file, lineage)],
  ]);
  return {
    file: path,
    lineage,
    ...pipelineOf(lineage, inpainting),
    parts: new Map([...parts].map(([name, part]) => [name, part && withOptions(part, options, name)])),
    scheduler: { ...schedulerConfig(lineage, prediction, turbo), ...options.scheduler },
    partsFrom: options.parts_from,
  };
}

/** The U-Net, in a whole checkpoint or alone. */
function unetTensors(file: Tensors): Tensors {
  const whole = file.under('model.diffusion_model.');
  if (whole.has('input_blocks.0.0.weight')) return whole;
  if (file.has('input_blocks.0.0.weight') && file.has('out.2.weight'))
    return file.where(/^(input_blocks|middle_block|output_blocks|time_embed|label_emb|out)\./);
  const kind = seemsToBe(file);
  if (whole.size > 0 && !kind) whole.shape('input_blocks.0.0.weight', 4);
  const received = kind ? `seems to be ${kind}` : 'has no U-Net';
  throw new CheckpointError(
    `Expected a checkpoint of Stable Diffusion 1.x, 2.x or XL but ${file.file} ${received}`,
    { file: file.file },
  );
}

function textParts(file: Tensors, lineage: Lineage): [string, FilePart | null][] {
  const [first, second] = [file.under('conditioner.embedders.0.'), file.under('conditioner.embedders.1.')];
  if (lineage === 'sdxl')
    return [
      ['text_encoder', textEncoder(first, { activation: 'quick_gelu', projection: false })],
      ['text_encoder_2', textEncoder(second, { activation: 'gelu', projection: true })],
    ];
  if (lineage === 'sdxl-refiner')
    return [['text_encoder_2', textEncoder(first, { activation: 'gelu', projection: true })]];
  const own = file.under('cond_stage_model.');
  const tensors = own.size > 0 ? own : first;
  const activation = lineage === 'sd1' ? 'quick_gelu' : 'gelu';
  return [['text_encoder', textEncoder(tensors, { activation, projection: false })]];
}

function textEncoder(tensors: Tensors, options: Parameters<typeof clipPart>[1]): FilePart | null {
  const clip = tensors.under('transformer.');
  if (clip.size > 0) return clipPart(clip, options);
  const openClip = tensors.under('model.');
  if (openClip.size === 0) return null;
  const layers = openClip.count('transformer.resblocks');
  // Stable Diffusion 2.x takes what the last but one of OpenCLIP ViT-H's 24 layers gives.
  const used = layers === 24 && !options.projection ? 23 : layers;
  return openClipPart(openClip, { layers: used, projection: options.projection });
}

function autoencoder(file: Tensors, lineage: Lineage): FilePart | null {
  const found = ['first_stage_model.', 'vae.']
    .map((prefix) => file.under(prefix))
    .find(({ size }) => size > 0);
  return found ? vaePart(found, lineage) : null;
}

/** Latents of the pictures it was trained on. */
function sampleSize(lineage: Lineage, { type }: Prediction, inpainting: boolean): number {
  if (lineage === 'sd1') return 64;
  if (lineage === 'sd2') return type === 'v_prediction' && !inpainting ? 96 : 64;
  return 128;
}

function pipelineOf(lineage: Lineage, inpainting: boolean): Pick<SingleFile, 'pipeline' | 'settings'> {
  const [xl, refiner] = [lineage === 'sdxl' || lineage === 'sdxl-refiner', lineage === 'sdxl-refiner'];
  const task = inpainting ? 'Inpaint' : refiner ? 'Img2Img' : '';
  const settings = new Map<string, unknown>(
    xl
      ? [
          ['force_zeros_for_empty_prompt', !refiner],
          ['requires_aesthetics_score', refiner],
        ]
      : [],
  );
  return { pipeline: `StableDiffusion${xl ? 'XL' : ''}${task}Pipeline`, settings };
}

function withOptions(part: FilePart, options: CheckpointOptions, name: string): FilePart {
  const fields = options[name as 'unet' | 'vae' | 'text_encoder' | 'text_encoder_2'];
  return fields ? { ...part, config: { ...part.config, ...fields } } : part;
}
