import { errors } from '../errors.ts';
import type { Hint } from './image.ts';
import { otsu } from './otsu.ts';
import { nearest, type Raster, type Scaling, smooth } from './resample.ts';

/** How a picture of another shape comes to the size of the result. */
export const resizeModes = {
  crop: 'scaled to cover it, the rest cut off evenly',
  fit: 'scaled to lie within it, the rest black',
  stretch: 'each side scaled by itself',
} as const;

export type ResizeMode = keyof typeof resizeModes;

/** @throws ServiceError invalid_argument for anything but a mode; crop where it is empty. */
export function readResizeMode(name: string, field: string): ResizeMode {
  if (name === '') return 'crop';
  if (Object.hasOwn(resizeModes, name)) return name as ResizeMode;
  throw errors.invalidArgument(field, `one of ${Object.keys(resizeModes).join(', ')}`, name);
}

interface Size {
  width: number;
  height: number;
}

/** What of a scaled picture is on a result of that size: all of it, or its middle. */
export function visible(picture: Size, target: Size, mode: ResizeMode): Scaling {
  const [x, y] = [target.width / picture.width, target.height / picture.height];
  const scale = mode === 'crop' ? Math.max(x, y) : Math.min(x, y);
  const side = (length: number) => Math.max(1, Math.round(length * scale));
  const scaled = mode === 'stretch' ? target : { width: side(picture.width), height: side(picture.height) };
  const width = Math.min(scaled.width, target.width);
  const height = Math.min(scaled.height, target.height);
  const left = Math.floor((scaled.width - width) / 2);
  const top = Math.floor((scaled.height - height) / 2);
  return { scaled, left, top, width, height };
}

/** How the pixels of a picture are made of those of another size. */
export type Sampling = 'smooth' | 'nearest' | 'crisp';

/** The part of a picture, [H,W,C]; byte for byte its own where nothing is scaled or cut. */
export function scale<R extends Raster>(image: R, part: Scaling, sampling: Sampling): R {
  const { scaled, width, height } = part;
  const isWhole = width === image.width && height === image.height;
  if (isWhole && scaled.width === width && scaled.height === height) return image;
  if (sampling === 'smooth') return smooth(image, part);
  if (sampling === 'nearest') return nearest(image, part);
  return crisp(image, part);
}

/**
 * A ready hint: two colours stay two (lines and scribbles), few stay themselves (segments); of more it is a photograph or
 * a map of depths.
 */
function crisp<R extends Raster>(image: R, part: Scaling): R {
  const colours = fewColours(image);
  if (!colours) return smooth(image, part);
  const [dark, light] = [Math.min(...colours), Math.max(...colours)];
  if (colours.size !== 2 || dark !== 0 || light !== WHITE) return nearest(image, part);
  const scaled = smooth(image, part);
  const threshold = otsu(scaled.data);
  return { ...scaled, data: scaled.data.map((value) => (value > threshold ? 255 : 0)) };
}

const FEW = 200;
const WHITE = 0xffffff;

/** All colours of a picture, if they are no more than `FEW`. */
function fewColours({ data }: Raster): Set<number> | undefined {
  const colours = new Set<number>();
  let last = -1;
  for (let i = 0; i < data.length; i += 3) {
    const colour = (data[i]! << 16) | (data[i + 1]! << 8) | data[i + 2]!;
    if (colour === last) continue;
    last = colour;
    colours.add(colour);
    if (colours.size > FEW) return undefined;
  }
  return colours;
}

/** In the middle of a hint of that size, `outside` around it. */
export function centre(hint: Hint, { width, height }: Size, outside: number): Hint {
  if (hint.width === width && hint.height === height) return hint;
  const data = new (hint.data.constructor as typeof Float32Array)(3 * width * height).fill(outside);
  const [left, top] = [Math.floor((width - hint.width) / 2), Math.floor((height - hint.height) / 2)];
  for (let y = 0; y < hint.height; y++) {
    const line = hint.data.subarray(3 * hint.width * y, 3 * hint.width * (y + 1));
    data.set(line, 3 * ((top + y) * width + left));
  }
  return { data, width, height };
}
