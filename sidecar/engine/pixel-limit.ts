import { errors } from '../errors.ts';
import type { Hires } from './hires.ts';
import type { PictureSize } from './picture.ts';
import type { ImageRequest } from './request.ts';
import type { Pictures } from './request-plan/pictures.ts';

/** Pixels of each image of the result. */
export function finalSize(
  { onlyMaskedPadding }: ImageRequest,
  { image, mask }: Pictures,
  hires: Hires | undefined,
  { width, height, scale }: PictureSize & { scale: number },
): PictureSize {
  if (image && mask && onlyMaskedPadding !== undefined) return image;
  if (!hires) return { width, height };
  const [, h, w] = hires.shape;
  return { width: w * scale, height: h * scale };
}

/** @throws ServiceError invalid_argument where the images would be more together than `max_pixels`. */
export function checkPixels({ count, maxPixels }: ImageRequest, { width, height }: PictureSize): void {
  if (maxPixels === undefined || count * width * height <= maxPixels) return;
  const most = Math.floor(maxPixels / (width * height));
  if (most > 0)
    throw errors.invalidArgument('count', `at most ${most}, as images are ${width}x${height},`, count);
  throw errors.unexpected('width', `an image of at most ${maxPixels} pixels`, `${width}x${height}`);
}
