import { errors } from '../../errors.ts';
import { firstEvaluation, type Sampler } from '../../samplers/index.ts';
import type { Source } from '../beginnings/index.ts';
import { stepsForStrength } from '../few-step.ts';
import type { OpenModel } from '../open-model.ts';
import type { Picture } from '../picture.ts';
import type { ImageRequest } from '../request.ts';
import type { Pictures } from './pictures.ts';

/** As in diffusers. */
const DEFAULT_STRENGTH = { image: 0.8, inpainting: 1 };

/** The model's own; of one that needs but a few, enough for image to image to begin at its strength. */
export function defaultSteps(request: ImageRequest, { image, mask }: Pictures, model: OpenModel): number {
  const { steps } = model.defaults;
  return image && model.isFewStep ? stepsForStrength(steps, strengthOf(request, mask)) : steps;
}

function strengthOf(request: ImageRequest, mask: Picture | undefined): number {
  return request.strength ?? DEFAULT_STRENGTH[mask ? 'inpainting' : 'image'];
}

/** Where the run begins, by the pictures that came along. */
export function sourceOf(
  request: ImageRequest,
  { image, mask }: Pictures,
  model: OpenModel,
  sampler: Sampler,
  steps: number,
): { source?: Source; strength?: number; ignored: string[] } {
  if (model.inpaints && !(image && mask)) {
    const field = image ? 'mask' : 'init_image';
    throw errors.unexpected(field, `an image, as ${model.name} is for inpainting,`, 'nothing');
  }
  const asked = {
    strength: request.strength !== undefined && !image,
    mask_blur: request.maskBlur && !mask,
    only_masked_padding: request.onlyMaskedPadding !== undefined && !mask,
    keep_unmasked: request.keepUnmasked && !mask,
    masked_content: request.maskedContent && !mask,
  };
  const ignored = Object.entries(asked).flatMap(([field, isIdle]) =>
    isIdle ? [`${field}: there is no ${field === 'strength' ? 'init_image' : 'mask'}`] : [],
  );
  if (!image) return { ignored };
  if (!model.latentSpace.encodes)
    throw errors.unexpected('init_image', `nothing, as ${model.name} encodes no images,`, 'an image');
  const strength = strengthOf(request, mask);
  if (steps * strength < 1)
    ignored.push(
      `strength: ${strength} of ${steps} ${steps === 1 ? 'step' : 'steps'} is less than one; one was run`,
    );
  const first = firstEvaluation(sampler, steps, strength);
  const isNoise = strength === 1;
  const { maskedContent = 'original' } = request;
  if (mask && isNoise && maskedContent !== 'original')
    ignored.push('masked_content: strength 1 begins from noise alone');
  const content = isNoise ? 'original' : maskedContent;
  return { source: { image, mask, content, first, isNoise }, strength, ignored };
}
