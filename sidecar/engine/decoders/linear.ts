import type { LatentSize } from '../autoencoder.ts';
import type { Decoded, Decoder } from './decoder.ts';

/** The published autoencoders whose latents are known well enough to look at without decoding them. */
export type KnownSpace = 'sd' | 'sdxl';

/** By what the U-Net's latents are scaled: those of Stable Diffusion 1.x and 2.x, and of XL, all of 4 channels at 1/8. */
const scalingFactors: Record<KnownSpace, number> = { sd: 0.18215, sdxl: 0.13025 };

/** Which of them an autoencoder's latents are. A decoder that was trained further still has the same. */
export function knownSpace(of: {
  channels: number;
  scale: number;
  scalingFactor: number;
}): KnownSpace | undefined {
  if (of.channels !== 4 || of.scale !== 8) return undefined;
  const spaces = Object.keys(scalingFactors) as KnownSpace[];
  return spaces.find((space) => Math.abs(scalingFactors[space] - of.scalingFactor) < 1e-6);
}

/**
 * Red, green and blue, −1…1, of each channel of the U-Net's latents, then those of none: least-squares fits that
 * ComfyUI publishes (comfy/latent_formats.py, SD15 and SDXL).
 */
const factors: Record<KnownSpace, number[][]> = {
  sd: [
    [0.3512, 0.2297, 0.3227],
    [0.325, 0.4974, 0.235],
    [-0.2829, 0.1762, 0.2721],
    [-0.212, -0.2616, -0.7177],
    [0, 0, 0],
  ],
  sdxl: [
    [0.3651, 0.4232, 0.4341],
    [-0.2533, -0.0042, 0.1068],
    [0.1076, 0.1111, -0.0362],
    [-0.3165, -0.2492, -0.2188],
    [0.1084, -0.0175, -0.0011],
  ],
};

/** A colour for each latent, as large as its pixels: what is where, at next to no cost. */
export class LinearDecoder implements Decoder {
  readonly channels = 4;
  readonly scale = 8;
  readonly #factors: number[][];

  constructor(space: KnownSpace) {
    this.#factors = factors[space];
  }

  async decode(latents: Float32Array, { height, width }: LatentSize): Promise<Decoded> {
    const { scale } = this;
    const area = height * width;
    const [W, image] = [width * scale, new Float32Array(3 * area * scale * scale)];
    for (let c = 0; c < 3; c++)
      for (let i = 0; i < area; i++) {
        let value = this.#factors[4]![c]!;
        for (let j = 0; j < 4; j++) value += this.#factors[j]![c]! * latents[j * area + i]!;
        const corner = (c * height + Math.floor(i / width)) * scale * W + (i % width) * scale;
        for (let y = 0; y < scale; y++) image.fill(value, corner + y * W, corner + y * W + scale);
      }
    return { image };
  }
}
