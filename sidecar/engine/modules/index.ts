import { taesdDecode, taesdEncode, vaeDecode, vaeEncode, vqDecode } from './autoencoders.ts';
import { controlnet, controlnetAndUNet } from './controlnet.ts';
import type { Module } from './run.ts';
import { textEncoder } from './text-encoder.ts';
import { unet } from './unet.ts';

export type { Module, ModuleOptions, Tensors } from './run.ts';

/** What `latent-edge module` can run, by the name of the component. */
export const modules: Record<string, Module> = {
  text_encoder: textEncoder('text_encoder'),
  text_encoder_2: textEncoder('text_encoder_2'),
  unet,
  controlnet,
  'controlnet+unet': controlnetAndUNet,
  'vae.encode': vaeEncode,
  'vae.decode': vaeDecode,
  'taesd.encode': taesdEncode,
  'taesd.decode': taesdDecode,
  'vqvae.decode': vqDecode,
};
