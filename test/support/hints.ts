import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import type { RgbImage } from '../../sidecar/preprocessors/index.ts';

const folder = fileURLToPath(new URL('../fixtures/hints/', import.meta.url));

/** What OpenCV makes of a picture: of one that is preprocessed, or only scaled. */
export interface HintCase {
  input: string;
  output: string;
  preprocessor?: string;
  options?: Record<string, number>;
  /** Levels of 255 that rounding may differ by. */
  within?: number;
  size?: [number, number];
  sampling?: 'smooth' | 'nearest';
}

export const hintCases = JSON.parse(readFileSync(`${folder}cases.json`, 'utf8')) as HintCase[];

/** A picture of test/fixtures/hints. Grey ones have three channels too. */
export async function picture(name: string): Promise<RgbImage> {
  const image = sharp(`${folder}${name}.png`).toColourspace('srgb').raw();
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  if (info.channels !== 3)
    throw new Error(`Expected 3 channels in ${name}.png but received ${info.channels}`);
  return { data: new Uint8Array(data), width: info.width, height: info.height };
}

/** How far two pictures are from each other: the largest difference, and the share of values that differ. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): { largest: number; share: number } {
  if (a.length !== b.length) throw new Error(`Expected ${b.length} values but received ${a.length}`);
  let largest = 0;
  let count = 0;
  for (let i = 0; i < a.length; i++) {
    const distance = Math.abs(a[i]! - b[i]!);
    largest = Math.max(largest, distance);
    if (distance > 0) count++;
  }
  return { largest, share: count / a.length };
}
