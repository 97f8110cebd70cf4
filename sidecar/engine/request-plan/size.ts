import { errors } from '../../errors.ts';
import { defaultSize } from '../../models/components.ts';
import type { SizeConditioning } from '../conditioning/stable-diffusion-xl.ts';
import type { OpenModel } from '../open-model.ts';
import type { ImageRequest } from '../request.ts';
import type { Pictures } from './pictures.ts';

/** As large as was asked for; else as the picture to begin from, in whole latents; else as the model's own. */
export function sizeOf(
  request: ImageRequest,
  { image }: Pictures,
  model: OpenModel,
): { width: number; height: number } {
  const step = model.sizeStep;
  const trained = defaultSize(model.checkpoint);
  const whole = (pixels: number) => pixels - (pixels % step);
  // Of a part of the picture, any size will do.
  const own =
    image && request.onlyMaskedPadding === undefined
      ? { width: whole(image.width), height: whole(image.height) }
      : { width: model.settings.width ?? trained.width, height: model.settings.height ?? trained.height };
  const { width = own.width, height = own.height } = request;
  for (const [field, value] of Object.entries({ width, height }))
    if (value % step !== 0 || value < step || value > 4096)
      throw errors.invalidArgument(field, `a multiple of ${step} from ${step} to 4096`, value);
  return { width, height };
}

/** What was left out is the size of the image itself, uncropped. */
export function sizesOf(
  { sizeConditioning: asked = {} }: Pick<ImageRequest, 'sizeConditioning'>,
  width: number,
  height: number,
): SizeConditioning {
  return {
    originalWidth: asked.originalWidth || width,
    originalHeight: asked.originalHeight || height,
    cropLeft: asked.cropLeft ?? 0,
    cropTop: asked.cropTop ?? 0,
    targetWidth: asked.targetWidth || width,
    targetHeight: asked.targetHeight || height,
  };
}
