import type { Hint, RgbImage } from './image.ts';

export const options = {};

/** A ready hint. */
export const run = (image: RgbImage): Hint => image;
