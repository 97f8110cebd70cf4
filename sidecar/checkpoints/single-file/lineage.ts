import { basename } from 'node:path';
import { CheckpointError } from '../error.ts';
import type { Lineage } from './part.ts';
import type { Tensors } from './tensors.ts';

/**
 * Which model a file descends from, by what its U-Net and its text encoders have.
 * @param unet its tensors without their prefix.
 * @throws CheckpointError for a relative that is not supported.
 */
export function lineageOf(file: Tensors, unet: Tensors): Lineage {
  refuseRelatives(file, unet);
  if (unet.has('label_emb.0.0.weight')) {
    const refiner = file.find(/^conditioner\.embedders\.0\.model\./) !== undefined;
    const base = file.find(/^conditioner\.embedders\.(0\.transformer|1\.)/) !== undefined;
    return refiner || (!base && contextOf(unet) === 1280) ? 'sdxl-refiner' : 'sdxl';
  }
  const projection = unet.find(/\.proj_in\.weight$/);
  return projection && unet.get(projection)!.shape.length === 2 ? 'sd2' : 'sd1';
}

/** SD-Turbo and SDXL-Turbo are their teachers' twins but for the numbers in them: told by the published names. */
export function isTurbo(file: string): boolean {
  return /^sd_(turbo|xl_turbo_1\.0)(_fp16)?\.safetensors$/.test(basename(file));
}

/** What the text's encoding has to have. */
function contextOf(unet: Tensors): number | undefined {
  const key = unet.find(/\.attn2\.to_k\.weight$/);
  return key === undefined ? undefined : unet.get(key)!.shape[1];
}

function refuseRelatives(file: Tensors, unet: Tensors): void {
  const inputs = unet.shape('input_blocks.0.0.weight', 4)[1];
  const relatives: [string, boolean][] = [
    ['an InstructPix2Pix model', inputs === 8],
    ['an upscaler', inputs === 7 || unet.has('label_emb.weight')],
    ['a depth-to-image model', inputs === 5],
    ['an unCLIP model', unet.has('label_emb.0.0.weight') && file.find(/^cond_stage_model\./) !== undefined],
    ['a video model', unet.find(/\.(time_stack|time_mixer|temopral_conv|motion_modules)\./) !== undefined],
    ['Playground 2.5', file.has('edm_mean')],
    ['a model with EDM v-prediction (CosXL)', file.has('edm_vpred.sigma_max')],
    ['a ControlNet with its model', file.find(/^control_model\./) !== undefined],
    ['a model whose text encoder is not CLIP', contextOf(unet) === undefined],
  ];
  const relative = relatives.find(([, is]) => is)?.[0];
  if (relative)
    throw new CheckpointError(
      `Expected a checkpoint of Stable Diffusion 1.x, 2.x or XL but ${file.file} seems to be ${relative}, which is not supported`,
      { file: file.file },
    );
}
