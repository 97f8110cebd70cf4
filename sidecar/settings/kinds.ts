import { z } from 'zod';

/** What a setting can be: as JSON in a file, and as text in a variable or behind a flag. */
export interface Kind<T> {
  /** `a whole number from 0 to 65535`, for messages and the page of settings. */
  expected: string;
  /** Takes what JSON has, and what `fromText` gives. */
  schema: z.ZodType<T>;
  fromText(text: string): unknown;
}

export const text: Kind<string> = {
  expected: 'text',
  schema: z.string().min(1),
  fromText: (text) => text,
};

export const flag: Kind<boolean> = {
  expected: 'true or false',
  schema: z.boolean(),
  fromText: (text) => ({ true: true, 1: true, false: false, 0: false })[text] ?? text,
};

export function wholeNumber(min: number, max: number): Kind<number> {
  return {
    expected: `a whole number from ${min} to ${max}`,
    schema: z.int().min(min).max(max),
    fromText: (text) => (/^-?\d+$/.test(text) ? Number(text) : text),
  };
}

export const port = wholeNumber(0, 65_535);

export function choice<const C extends string>(...names: C[]): Kind<C> {
  return { expected: `one of ${names.join(', ')}`, schema: z.enum(names), fromText: (text) => text };
}

/** In a variable separated by `separator`; without one, a variable holds a single text. */
export function list(separator?: string): Kind<string[]> {
  const split = (text: string) => (separator === undefined ? [text] : text.split(separator));
  return {
    expected: 'a list of texts',
    schema: z.array(z.string().min(1)),
    fromText: (text) => split(text).filter((each) => each !== ''),
  };
}

const UNITS = ' KMGT';

/** `8GiB`, `500MB`, or bytes. */
export const bytes: Kind<number> = {
  expected: 'an amount of memory such as "8GiB" or "500MB", or bytes',
  schema: z
    .union([z.string(), z.number()])
    .transform((value) => (typeof value === 'number' ? value : bytesOf(value)))
    .refine((value) => Number.isSafeInteger(value) && value >= 1),
  fromText: (text) => text,
};

function bytesOf(text: string): number {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*(?:([KMGT])(i?))?B?$/i.exec(text.trim());
  const power = match?.[2] ? UNITS.indexOf(match[2].toUpperCase()) : 0;
  return Math.round(Number(match?.[1]) * (match?.[3] ? 1024 : 1000) ** power);
}
