import { type InThreadOptions, inThread } from '../thread/in-thread.ts';
import type { Hint, Preprocessor, ResizeMode, RgbImage } from './index.ts';

/** As `hintOf`, in a thread: with in-thread.ts's word on who leaves. */
export function hintInThread(
  { row, values }: Preprocessor,
  image: RgbImage,
  size: { width: number; height: number },
  mode: ResizeMode,
  mask?: Uint8Array,
  options?: InThreadOptions,
): Promise<Hint> {
  return inThread('hint', [row.name, values, image, size, mode, mask], options);
}
