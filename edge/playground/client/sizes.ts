export interface Size {
  width: number;
  height: number;
}

/** `512x768` → pixels. */
export function parseSize(text: string): Size {
  const [width, height] = text.split('x').map(Number) as [number, number];
  return { width, height };
}

/** What the server makes, at most: pixels of a side, and of a picture (`MAX_PIXELS` in edge/schema/size.ts). */
const [MAX_SIDE, MAX_PIXELS] = [4096, 2048 * 2048];

/** Why a size is none that the server makes, and the field to change. */
export function sizeProblem(size: Size): { field: keyof Size; message: string } | undefined {
  const fits = (n: number) => n >= 8 && n <= MAX_SIDE && n % 8 === 0;
  const wrong = (['width', 'height'] as const).find((side) => !fits(size[side]));
  if (wrong) return { field: wrong, message: `Expected a multiple of 8, from 8 to ${MAX_SIDE} pixels` };
  if (size.width * size.height <= MAX_PIXELS) return undefined;
  const field = size.width > size.height ? 'width' : 'height';
  return { field, message: `Expected at most ${MAX_PIXELS} pixels in all, as 2048 × 2048 are` };
}

/** About as many pixels as `own`, in the shape of `shape`. */
export function sizeLike(shape: Size, own: Size): Size {
  // Fewer pixels than these are too few to round by so many.
  const unit = Math.min(own.width, own.height) < 256 ? 8 : 64;
  const scale = Math.sqrt((own.width * own.height) / (shape.width * shape.height));
  const side = (length: number) => Math.max(unit, unit * Math.round((length * scale) / unit));
  return { width: side(shape.width), height: side(shape.height) };
}

/** Pixels of a board's longer side, at least: lines of one pixel are hard to draw. */
const BOARD_SIDE = 512;

export function boardSize({ width, height }: Size): Size {
  const scale = Math.max(1, Math.ceil(BOARD_SIDE / Math.max(width, height)));
  return { width: width * scale, height: height * scale };
}
