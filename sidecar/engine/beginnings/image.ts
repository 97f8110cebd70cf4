import type { Exclusive } from '../conditioning/index.ts';
import { finite } from '../finite.ts';
import type { Work } from '../latent-diffusion.ts';
import type { Model } from '../model.ts';
import type { Noise } from '../noise.ts';
import { toUnitRange } from '../picture.ts';
import type { Beginning, Source } from './index.ts';

/** Image to image (SDEdit, arXiv:2108.01073): the picture's latents with the noise of a step midway. */
export async function fromImage(
  model: Model,
  work: Work,
  { image, first }: Source,
  noise: Noise,
  exclusive: Exclusive,
): Promise<Beginning> {
  const pixels = toUnitRange(await image.rgb(pixelSize(model, work)));
  const original = await encode(model, work, pixels, noise, exclusive);
  return noised(work, original, first, noise);
}

/** Latents [count,C,h,w] of a picture with the noise of an evaluation. */
export function noised(
  { sampler, count }: Work,
  original: Float32Array,
  first: number,
  noise: Noise,
): Beginning {
  return { latents: sampler.addNoise(original, noise.draw(original.length / count), first), first };
}

/** Of the picture that a run makes. */
export function pixelSize({ autoencoder }: Model, { shape: [, h, w] }: Pick<Work, 'shape'>) {
  return { width: w * autoencoder.scale, height: h * autoencoder.scale };
}

/** image [3,H,W], −1…1 → latents [count,C,h,w], drawn from its posterior. */
export async function encode(
  model: Model,
  { shape, count }: Work,
  image: Float32Array,
  noise: Noise,
  exclusive: Exclusive,
): Promise<Float32Array> {
  const [, height, width] = shape;
  const { mean, std } = await exclusive(() => model.autoencoder.encode(image, { height, width }));
  finite(mean, 'the encoded image', model);
  const latents = noise.drawShared(mean.length);
  for (let i = 0; i < count * mean.length; i++) {
    const j = i % mean.length;
    latents[i] = mean[j]! + std[j]! * latents[i]!;
  }
  return finite(latents, 'the encoded image', model);
}
