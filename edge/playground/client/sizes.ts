export interface Size {
  width: number;
  height: number;
}

/** `512x768` → pixels. */
export function parseSize(text: string): Size {
  const [width, height] = text.split('x').map(Number) as [number, number];
  return { width, height };
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
