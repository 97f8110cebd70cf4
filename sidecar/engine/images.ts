import { type Effective, parametersOf } from './effective.ts';
import { type Encoding, encodeImage, type ImageFormat } from './image-file.ts';
import type { Outcome } from './latent-diffusion.ts';
import { type Pixels, parametersText } from './png.ts';

export interface GeneratedImage {
  /** As `format` says. */
  file: Buffer;
  format: ImageFormat;
  width: number;
  height: number;
  seed: number;
  /** Its place among the images that its generator drew. */
  index: number;
  /** float32 [C,h,w] */
  latents?: { shape: number[]; data: Float32Array };
}

/** Pictures of one run as files. Image i has the i-th seed, or shares the only one. */
export function encodeImages(
  images: Pixels[],
  seeds: number[],
  encoding: Encoding,
  effective?: Effective,
): Promise<GeneratedImage[]> {
  const shared = seeds.length === 1;
  const { format } = encoding;
  return Promise.all(
    images.map(async (pixels, i) => {
      const seed = shared ? seeds[0]! : seeds[i]!;
      const text = effective && parametersText(parametersOf(effective, seed));
      const { width, height } = pixels;
      const file = await encodeImage(pixels, encoding, text);
      return { file, format, width, height, seed, index: shared ? i : 0 };
    }),
  );
}

/** The images, each with its part of latents [n,C,h,w]. */
export function withLatents(images: GeneratedImage[], { latents, shape }: Outcome): GeneratedImage[] {
  const size = latents.length / images.length;
  return images.map((image, i) => ({
    ...image,
    latents: { shape, data: latents.slice(i * size, (i + 1) * size) },
  }));
}
