import { errors, show } from '../errors.ts';
import type { Hint, RgbImage } from './image.ts';
import { readOptions } from './options.ts';
import { centre, type ResizeMode, scale, visible } from './resize.ts';
import { findPreprocessor, preprocessors, type Row, whyNot } from './table.ts';

export { type Hint, hintPixels, hintTensor, type RgbImage } from './image.ts';
export { type ResizeMode, readResizeMode } from './resize.ts';

/** A preprocessor and all of its options. */
export interface Preprocessor {
  row: Row;
  values: Record<string, number>;
}

/**
 * The preprocessor of that name in any spelling, `none` where it is empty, and its options.
 * @param field in which both stand, for messages: `control[0]`; none: they stand by themselves.
 * @throws ServiceError invalid_argument naming `control[0].preprocessor` or `control[0].preprocessor_options.NAME`.
 */
export function choosePreprocessor(
  name: string,
  options: Readonly<Record<string, number>> = {},
  field = '',
): Preprocessor {
  const within = field && `${field}.`;
  const row = findPreprocessor(name);
  if (!row)
    throw errors.unexpected(
      `${within}preprocessor`,
      `one of ${preprocessors.map(({ name }) => name).join(', ')}`,
      show(name) + whyNot(name),
    );
  return { row, values: readOptions(row.family.options, options, `${within}preprocessor_options`) };
}

/**
 * The hint of a picture, of the same size.
 * @param mask [H,W] for those that take one: 128 and more is what is to be made anew. None: nothing is.
 */
export function preprocess({ row, values }: Preprocessor, image: RgbImage, mask?: Uint8Array): Hint {
  return row.family.run(image, values as never, mask);
}

/**
 * The hint of a picture of any size. The picture is scaled first, so that lines are as thin as they are to be; what the
 * preprocessor makes of it is not scaled again, and lies in the middle.
 * @param size of the hint.
 * @param mask [H,W] of the picture's size.
 */
export function hintOf(
  preprocessor: Preprocessor,
  image: RgbImage,
  size: { width: number; height: number },
  mode: ResizeMode,
  mask?: Uint8Array,
): Hint {
  const { sampling = 'smooth', outside = 0 } = preprocessor.row;
  const part = visible(image, size, mode);
  const masked = mask && scale({ ...image, data: mask }, part, 'smooth').data;
  return centre(preprocess(preprocessor, scale(image, part, sampling), masked), size, outside);
}
