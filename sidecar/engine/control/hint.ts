import {
  choosePreprocessor,
  hintTensor,
  type Preprocessor,
  type RgbImage,
} from '../../preprocessors/index.ts';
import { hintInThread } from '../../preprocessors/thread.ts';
import type { Picture, PictureSize } from '../picture.ts';
import { crop, type Region } from '../retouch.ts';
import type { ResizeMode } from './units.ts';

/** Where a hint comes from. */
export interface HintSource {
  picture: Picture;
  preprocessor: Preprocessor;
  resize: ResizeMode;
  /** What is to be made anew, for preprocessors that show it. */
  mask?: Picture | undefined;
}

/** The part of a whole picture that a run makes, where it makes only a part. */
export interface Part {
  whole: PictureSize;
  region: Region;
}

/**
 * The hint of a run: [3,H,W], 0…1, of exactly that size. A ready hint that has it already keeps its values. Of a part,
 * the hint's part in the same place, once it is as large as the whole.
 * @throws the signal's reason: what has not begun by then never is.
 */
export async function hintPixels(
  { picture, mask, preprocessor, resize }: HintSource,
  size: PictureSize,
  part?: Part,
  signal?: AbortSignal,
): Promise<Float32Array> {
  const options = { signal, isForRequest: true };
  const { width, height } = picture;
  const image = { data: await picture.rgb({ width, height }), width, height };
  const masked = await mask?.grey({ width, height });
  if (!part) return hintTensor(await hintInThread(preprocessor, image, size, resize, masked, options));
  const { whole, region } = part;
  const none = choosePreprocessor('none');
  const placed = (await hintInThread(none, image, whole, resize, undefined, options)) as RgbImage;
  const cut = (pixels: Uint8Array) => crop(pixels, whole, region);
  const own = { ...region, data: cut(placed.data) };
  const anew = mask && cut(await mask.grey(whole));
  return hintTensor(await hintInThread(preprocessor, own, size, 'stretch', anew, options));
}
