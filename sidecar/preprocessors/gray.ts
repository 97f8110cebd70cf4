import { grayHint, type Hint, luma, type RgbImage } from './image.ts';

export const options = {};

/** Luma, of ITU-R BT.601. */
export const run = (image: RgbImage): Hint => grayHint(luma(image.data), image);
