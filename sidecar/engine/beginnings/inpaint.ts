import { inThread } from '../../thread/in-thread.ts';
import type { Exclusive } from '../conditioning/index.ts';
import { join } from '../conditioning/text.ts';
import type { Work } from '../latent-diffusion.ts';
import type { MaskedContent } from '../masked-content.ts';
import type { Model } from '../model.ts';
import type { Noise } from '../noise.ts';
import { type Picture, toUnitRange } from '../picture.ts';
import { encode, pixelSize } from './image.ts';
import type { Beginning, Source } from './index.ts';

/**
 * Inpainting: the picture is made anew where the mask is white. A U-Net made for it is also given the mask and the
 * latents of what stays. Any other is held to the picture: after each step, what stays is replaced by the picture's
 * latents with as much noise as the next step begins with (RePaint, arXiv:2201.09865, without its resampling).
 * @throws the signal's reason.
 */
export async function inpaint(
  model: Model,
  work: Work,
  source: Source & { mask: Picture },
  noise: Noise,
  exclusive: Exclusive,
  signal?: AbortSignal,
): Promise<Beginning> {
  const { sampler, count, shape } = work;
  const { first, isNoise, content = 'original' } = source;
  const size = pixelSize(model, work);
  const own = await source.image.rgb(size);
  const pixels = toUnitRange(own);
  const greys = await source.mask.grey(size);
  const isAnew = greys.map((grey) => (grey >= 128 ? 1 : 0));
  const mask = latentMask(isAnew, shape, model.autoencoder.scale);
  const shown =
    content === 'original'
      ? pixels
      : toUnitRange(await inThread('fillMasked', [own, greys, size], { signal, isForRequest: true }));
  const encoded = (image: Float32Array) => encode(model, work, image, noise, exclusive);

  // In the reference's order, as each of these draws.
  const original = isNoise && model.inpaints ? undefined : await encoded(shown);
  const drawn = noise.draw(shape.reduce((a, b) => a * b));
  const latents = isNoise
    ? drawn.map((z) => z * sampler.initNoiseSigma)
    : sampler.addNoise(withContent(content, original!, drawn, mask), drawn, first);
  const rest = await encoded(pixels.map((value, i) => (isAnew[i % isAnew.length] ? 0 : value)));

  if (model.inpaints) return { latents, first, beside: besideLatents(mask, rest, count) };
  const last = sampler.timesteps.length - 1;
  return {
    latents,
    first,
    hold(latents, i) {
      const kept = i < last ? sampler.addNoise(original!, drawn, i + 1) : original!;
      return latents.map((z, j) => (mask[j % mask.length] ? z : kept[j]!));
    },
  };
}

/**
 * Latents [count,C,h,w] with others where the mask [h,w] is. Noise is that of the first step, as in A1111's web UI,
 * where both come of the seed.
 */
function withContent(
  content: MaskedContent,
  latents: Float32Array,
  drawn: Float32Array,
  mask: Float32Array,
): Float32Array {
  if (content === 'original' || content === 'fill') return latents;
  const anew = (j: number) => (content === 'latent-noise' ? drawn[j]! : 0);
  return latents.map((z, j) => (mask[j % mask.length] ? anew(j) : z));
}

/** Of each latent, its first pixel: [H,W] → [h,w]. */
function latentMask(isAnew: Uint8Array, [, h, w]: Work['shape'], scale: number): Float32Array {
  return Float32Array.from(
    { length: h * w },
    (_, i) => isAnew[Math.floor(i / w) * scale * (w * scale) + (i % w) * scale]!,
  );
}

/** mask [h,w], latents [count,C,h,w] → [count,1+C,h,w] */
function besideLatents(mask: Float32Array, latents: Float32Array, count: number): Float32Array {
  const size = latents.length / count;
  return join(
    Array.from({ length: count }, (_, i) => [mask, latents.subarray(i * size, (i + 1) * size)]).flat(),
  );
}
