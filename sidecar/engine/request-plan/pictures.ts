import { errors } from '../../errors.ts';
import { openPicture, type Picture, transparentIn } from '../picture.ts';
import type { ImageRequest } from '../request.ts';

/** The pictures of a request, by what they are for. */
export interface Pictures {
  image?: Picture | undefined;
  mask?: Picture | undefined;
}

/** @throws ServiceError invalid_argument for what is no picture, and a mask that fits none. */
export async function openPictures(request: ImageRequest): Promise<Pictures> {
  const image = request.initImage && (await openPicture(request.initImage, 'init_image'));
  const mask = request.mask && (await openMask(request.mask, request.maskChannel));
  if (mask && !image) throw errors.unexpected('init_image', 'an image, as there is a mask,', 'nothing');
  const size = ({ width, height }: Picture) => `${width}x${height}`;
  if (mask && image && size(mask) !== size(image))
    throw errors.unexpected('mask', `${size(image)} pixels, as init_image has,`, size(mask));
  return { image, mask };
}

/** A mask whose grey values say what is made anew. */
async function openMask(file: Uint8Array, channel: ImageRequest['maskChannel']): Promise<Picture> {
  const picture = await openPicture(file, 'mask');
  if (channel === 'darkness')
    return { ...picture, grey: async (size) => (await picture.grey(size)).map((value) => 255 - value) };
  if (channel !== 'alpha') return picture;
  const mask = transparentIn(picture);
  if (!mask)
    throw errors.unexpected(
      'mask',
      'an image with an alpha channel, as mask_channel is alpha,',
      'one without',
    );
  return mask;
}
