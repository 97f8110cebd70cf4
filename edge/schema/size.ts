import { z } from '@hono/zod-openapi';

/** Pixels of one image that is asked for by its size, at most: 2048×2048. */
export const MAX_PIXELS = 2048 * 2048;

/** OpenAI's `size`. */
export const size = z
  .string()
  .max(16)
  .refine((value) => value === 'auto' || parseSize(value) !== undefined, {
    message: `"auto" or WIDTHxHEIGHT, both multiples of 8 from 8 to 4096, ${MAX_PIXELS} pixels at most`,
  })
  .openapi({ pattern: '^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$', example: 'auto' });

/** `512x768` → pixels; undefined where that is not a size this server makes. */
export function parseSize(value: string): { width: number; height: number } | undefined {
  const match = /^([1-9]\d{0,3})x([1-9]\d{0,3})$/.exec(value);
  if (!match) return undefined;
  const [width, height] = [Number(match[1]), Number(match[2])];
  const fits = (n: number) => n % 8 === 0 && n <= 4096;
  return fits(width) && fits(height) && width * height <= MAX_PIXELS ? { width, height } : undefined;
}
