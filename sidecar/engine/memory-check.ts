import { basename } from 'node:path';
import { errors } from '../errors.ts';
import type { Component } from '../models/components.ts';
import type { ControlNetConfig } from '../models/controlnet-config.ts';
import type { Decoder } from './decoders/decoder.ts';
import { rowsPerRun } from './evaluator.ts';
import type { Work } from './latent-diffusion.ts';
import type { Model } from './model.ts';

/** Of a text's chunk; longer texts take little more beside the rest. */
const TOKENS = 77;

/**
 * Refuses what can never fit, before any work is done: the model's weights and the largest of the programs that its
 * images need, one at a time.
 * @param controls ControlNets that take part.
 * @param runs what is made, by size: the images, then perhaps the same images enlarged.
 * @param memory bytes of the device.
 * @throws ServiceError out_of_memory, saying what it would take.
 */
export function checkMemory(
  model: Model,
  controls: readonly Component<ControlNetConfig>[],
  runs: { shape: Work['shape']; count: number; encodes: boolean }[],
  isGuided: boolean,
  memory: number,
  decoder: Decoder = model.autoencoder,
): void {
  const { denoiser, autoencoder } = model;
  const weights = controls.reduce((sum, { parameters }) => sum + 4 * parameters, model.bytes);
  const texts = isGuided ? 2 : 1;
  for (const { shape, count, encodes } of runs) {
    const [, height, width] = shape;
    const size = { height, width };
    const batch = Math.min(texts * count, rowsPerRun(size));
    const tokens = model.textEncoders.length > 0 ? TOKENS : 0;
    const needs = {
      denoising: denoiser.predictBytes(batch, size, tokens, controls),
      decoding: decoder.decodeBytes(size),
      encoding: encodes ? autoencoder.encodeBytes(size) : 0,
    };
    for (const [what, bytes] of Object.entries(needs))
      if (weights + bytes > memory)
        throw errors.neverFits(
          `Expected images that fit into the ${gigabytes(memory)} of memory that this device has, but ` +
            `${what} ${width * autoencoder.scale}x${height * autoencoder.scale} takes ${gigabytes(bytes)} ` +
            `beside the ${gigabytes(weights)} of the weights of ${[model.name, ...controls.map(({ dir }) => basename(dir))].join(' and ')}: ask for a smaller size`,
        );
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toPrecision(3)} GB`;
}
