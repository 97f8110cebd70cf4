import type { Hint, RgbImage } from './image.ts';

export const options = {};

/** The picture in 0…1, and −1 where the mask, [H,W], is above a half: what ControlNet 1.1 for inpainting was trained with. */
export function run(image: RgbImage, _: unknown, mask?: Uint8Array): Hint {
  const data = new Float32Array(image.data.length);
  for (let i = 0; i < data.length; i++)
    data[i] = mask && mask[Math.floor(i / 3)]! > 127 ? -1 : image.data[i]! / 255;
  return { ...image, data };
}
