/** Red, green and blue, row by row: [H,W,3], 0…255. */
export interface RgbImage {
  data: Uint8Array;
  width: number;
  height: number;
}

/**
 * What a ControlNet looks at: [H,W,3]. Bytes stand for 0…1; floats for themselves, 0…1, or −1 where a ControlNet for
 * inpainting is to see nothing.
 */
export interface Hint {
  data: Uint8Array | Float32Array;
  width: number;
  height: number;
}

/** A hint as the hint embedding takes it: [3,H,W]. */
export function hintTensor({ data, width, height }: Hint): Float32Array {
  const area = width * height;
  const whole = data instanceof Uint8Array ? 255 : 1;
  const tensor = new Float32Array(3 * area);
  for (let c = 0; c < 3; c++) for (let i = 0; i < area; i++) tensor[c * area + i] = data[3 * i + c]! / whole;
  return tensor;
}

/** A hint as a picture shows it: [H,W,3], what lies outside of 0…1 cut off. */
export function hintPixels({ data }: Hint): Uint8Array {
  if (data instanceof Uint8Array) return data;
  // Rounded and cut off on the way in; `from` with a function would take ten times as long.
  const pixels = new Uint8ClampedArray(data.length);
  for (let i = 0; i < data.length; i++) pixels[i] = 255 * data[i]!;
  return new Uint8Array(pixels.buffer);
}

/** One value of each pixel as red, green and blue alike: [H,W] → [H,W,3]. */
export function grayHint(values: Uint8Array, { width, height }: { width: number; height: number }): Hint {
  const data = new Uint8Array(3 * values.length);
  for (let i = 0, j = 0; i < values.length; i++) {
    const value = values[i]!;
    data[j++] = value;
    data[j++] = value;
    data[j++] = value;
  }
  return { data, width, height };
}

/** Luma of ITU-R BT.601, [H,W,3] → [H,W]: in 15 bits, as OpenCV's RGB2GRAY has it. */
export function luma(rgb: Uint8Array): Uint8Array {
  const out = new Uint8Array(rgb.length / 3);
  for (let i = 0, j = 0; i < out.length; i++, j += 3)
    out[i] = (9798 * rgb[j]! + 19235 * rgb[j + 1]! + 3735 * rgb[j + 2]! + 16384) >> 15;
  return out;
}

/** The least of each pixel's three values, [H,W,3] → [H,W]. */
export function darkest(rgb: Uint8Array): Uint8Array {
  const out = new Uint8Array(rgb.length / 3);
  for (let i = 0, j = 0; i < out.length; i++, j += 3) out[i] = Math.min(rgb[j]!, rgb[j + 1]!, rgb[j + 2]!);
  return out;
}

/** Bytes, rounded. */
export const bytes = (values: Float32Array): Uint8Array =>
  new Uint8Array(new Uint8ClampedArray(values).buffer);

/** v^gamma of values in 0…1, cut off to bytes. */
export function withGamma(values: Uint8Array, gamma: number): Uint8Array {
  if (gamma === 1) return values;
  const table = Uint8Array.from({ length: 256 }, (_, i) => 255 * (i / 255) ** gamma);
  return values.map((value) => table[value]!);
}
