/** Rows of values, [H,W,C]; C is what the length says. */
export interface Raster {
  data: Uint8Array;
  width: number;
  height: number;
}

/** Which pixels of a line each pixel of another is made of, and how much of each. */
interface Taps {
  /** Where in `index` and `weight` those of pixel i begin; one entry more, the end. */
  begin: Int32Array;
  index: Int32Array;
  weight: Float32Array;
}

/** A part of a picture that has been scaled to a size. */
export interface Scaling {
  /** Of the whole. */
  scaled: { width: number; height: number };
  /** The part's first column and row. */
  left: number;
  top: number;
  width: number;
  height: number;
}

/**
 * A scaled part: each axis by area where it shrinks and by a cubic where it grows, as OpenCV's INTER_AREA and INTER_CUBIC
 * do. The axes are taken one after another in float32; of a half the even neighbour.
 */
export function smooth<R extends Raster>(image: R, part: Scaling): R {
  const { width, height } = part;
  const columns = taps(image.width, part.scaled.width, part.left, width);
  const rows = taps(image.height, part.scaled.height, part.top, height);
  const channels = image.data.length / (image.width * image.height);
  const row = channels * width;
  // A line of the picture is scaled when it is first asked for, and let go after the last time.
  const lines = new Map<number, Float32Array>();
  const data = new Uint8ClampedArray(row * height);
  const sum = new Float32Array(row);
  for (let y = 0; y < height; y++) {
    sum.fill(0);
    const begin = rows.begin[y]!;
    const end = rows.begin[y + 1]!;
    for (const line of lines.keys()) if (line < rows.index[begin]!) lines.delete(line);
    for (let t = begin; t < end; t++) {
      const source = rows.index[t]!;
      const line = lines.get(source) ?? across(image, source, columns, channels);
      lines.set(source, line);
      const weight = rows.weight[t]!;
      for (let i = 0; i < row; i++) sum[i]! += weight * line[i]!;
    }
    data.set(sum, y * row);
  }
  return { ...image, data: new Uint8Array(data.buffer), width, height };
}

/** A scaled part, each pixel one of the picture's own: OpenCV's INTER_NEAREST. */
export function nearest<R extends Raster>(image: R, { scaled, left, top, width, height }: Scaling): R {
  const channels = image.data.length / (image.width * image.height);
  const data = new Uint8Array(channels * width * height);
  for (let y = 0, i = 0; y < height; y++) {
    const line = Math.floor(((top + y) * image.height) / scaled.height) * image.width;
    for (let x = 0; x < width; x++) {
      const from = channels * (line + Math.floor(((left + x) * image.width) / scaled.width));
      for (let c = 0; c < channels; c++) data[i++] = image.data[from + c]!;
    }
  }
  return { ...image, data, width, height };
}

/** The columns of row y. */
function across({ data, width }: Raster, y: number, { begin, index, weight }: Taps, channels: number) {
  const count = begin.length - 1;
  const line = new Float32Array(channels * count);
  const start = channels * width * y;
  for (let x = 0; x < count; x++)
    for (let c = 0; c < channels; c++) {
      let sum = 0;
      for (let t = begin[x]!; t < begin[x + 1]!; t++)
        sum += weight[t]! * data[start + channels * index[t]! + c]!;
      line[channels * x + c] = sum;
    }
  return line;
}

/** Of the pixels `first`, …, of a line of `from` pixels that becomes one of `to`. */
function taps(from: number, to: number, first: number, count: number): Taps {
  const begin = new Int32Array(count + 1);
  const index: number[] = [];
  const weight: number[] = [];
  const add = from >= to ? areaTaps : cubicTaps;
  for (let i = 0; i < count; i++) {
    add(from, to, first + i, (at, share) => {
      index.push(at);
      weight.push(share);
    });
    begin[i + 1] = index.length;
  }
  return { begin, index: Int32Array.from(index), weight: Float32Array.from(weight) };
}

type Add = (index: number, weight: number) => void;

/** All that lies from i·s to (i + 1)·s, s = from / to, by its share. */
function areaTaps(from: number, to: number, i: number, add: Add): void {
  // In units of 1 / to, so that the ends are whole.
  const [first, last] = [i * from, (i + 1) * from];
  for (let at = Math.floor(first / to); at * to < last; at++)
    add(at, (Math.min(last, (at + 1) * to) - Math.max(first, at * to)) / from);
}

/** The cubic convolution of Keys (IEEE TASSP 29, 1981) with a = −0.75; the outermost pixels go on beyond the border. */
function cubicTaps(from: number, to: number, i: number, add: Add): void {
  const a = -0.75;
  const place = ((i + 0.5) * from) / to - 0.5;
  const left = Math.floor(place);
  for (let at = left - 1; at <= left + 2; at++) {
    const d = Math.abs(place - at);
    const weight = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    add(Math.min(Math.max(at, 0), from - 1), weight);
  }
}
