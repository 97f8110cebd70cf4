import type { Hint, RgbImage } from './image.ts';

export const options = {};

/** Each value from 255: a dark drawing on white as the light one on black that ControlNets for lines know. */
export const run = (image: RgbImage): Hint => ({ ...image, data: image.data.map((value) => 255 - value) });
