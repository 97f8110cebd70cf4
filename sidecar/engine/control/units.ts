import { z } from 'zod';
import { errors } from '../../errors.ts';
import { type ResizeMode, resizeModes } from '../../preprocessors/resize.ts';

export type { ResizeMode };

/** What counts more where hint and prompt disagree. */
export type ControlMode = 'balanced' | 'prompt' | 'control';

/** A ControlNet of a request and what it looks at: ControlUnit of the contract, every default filled in. */
export interface ControlUnit {
  model: string;
  /** An image file; without one, the picture that the run begins from. */
  image?: Uint8Array | undefined;
  /** `none`: the image is a hint already. */
  preprocessor: string;
  preprocessorOptions: Record<string, number>;
  resize: ResizeMode;
  /** Times the residuals: one number for all steps, or one for each. */
  scale: number[];
  /** The share of the run between which it takes part. */
  start: number;
  end: number;
  mode: ControlMode;
  /** Factors of the residuals on top of `scale`, one for each; none: 1. */
  levelScale: number[];
}

export const MAX_CONTROLS = 8;

const name = z
  .string()
  .max(256)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they have no place in a name
  .refine((text) => !/[\x00-\x1f\x7f\p{Surrogate}]/u.test(text));
const factor = z.number().min(-10).max(10);
const share = z.number().min(0).max(1);

/** The limits of every field, those of the contract's comments, by the names that the .proto has. */
const rules: Record<keyof ControlUnit, { field: string; expected: string; schema: z.ZodType }> = {
  model: { field: 'model', expected: 'the name of a ControlNet', schema: name.min(1) },
  image: { field: 'image', expected: 'the bytes of an image file', schema: z.instanceof(Uint8Array) },
  preprocessor: { field: 'preprocessor', expected: 'the name of a preprocessor', schema: name },
  preprocessorOptions: {
    field: 'preprocessor_options',
    expected: 'at most 16 finite numbers by name',
    schema: z.record(name, z.number()).refine((options) => Object.keys(options).length <= 16),
  },
  resize: {
    field: 'resize',
    expected: `one of ${Object.keys(resizeModes).join(', ')}`,
    schema: z.literal(['', ...(Object.keys(resizeModes) as ResizeMode[])]),
  },
  scale: {
    field: 'scale',
    expected: 'numbers from -10 to 10, one or one for each step',
    schema: z.array(factor).max(1000),
  },
  start: { field: 'start', expected: 'a number from 0 to 1', schema: share },
  end: { field: 'end', expected: 'a number from 0 to 1', schema: share },
  mode: {
    field: 'mode',
    expected: 'balanced, prompt or control',
    schema: z.literal(['', 'balanced', 'prompt', 'control']),
  },
  levelScale: {
    field: 'level_scale',
    expected: 'numbers from -10 to 10, one for each residual',
    schema: z.array(factor).max(100),
  },
};

/**
 * Checks the ControlNets of a request.
 * @throws ServiceError invalid_argument, naming the unit and its field: `control[0].scale`.
 */
export function parseUnits(units: readonly unknown[]): ControlUnit[] {
  return units.map((input, i) => parseUnit((input ?? {}) as { [F in keyof ControlUnit]?: unknown }, i));
}

function parseUnit(input: { [F in keyof ControlUnit]?: unknown }, i: number): ControlUnit {
  const fields = Object.entries(rules).flatMap(([key, { field, expected, schema }]) => {
    const value = input[key as keyof ControlUnit];
    if ((value === undefined || value === null) && key !== 'model') return [];
    if (!schema.safeParse(value).success) throw errors.invalidArgument(fieldOf(i, field), expected, value);
    return [[key, value]];
  });
  const given = Object.fromEntries(fields) as Partial<ControlUnit>;
  const { start = 0, end = 1 } = given;
  if (start > end)
    throw errors.invalidArgument(fieldOf(i, 'end'), `a number from start, ${start}, to 1`, end);
  return {
    model: given.model!,
    image: given.image?.length ? given.image : undefined,
    preprocessor: given.preprocessor || 'none',
    preprocessorOptions: { ...given.preprocessorOptions },
    resize: given.resize || 'crop',
    scale: given.scale?.length ? [...given.scale] : [1],
    start,
    end,
    mode: given.mode || 'balanced',
    levelScale: [...(given.levelScale ?? [])],
  };
}

/** As errors name a field of a unit. */
export function fieldOf(i: number, field: string): string {
  return `control[${i}].${field}`;
}
