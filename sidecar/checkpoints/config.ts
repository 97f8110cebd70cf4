import { z } from 'zod';
import { CheckpointError } from './error.ts';

// Fields of a checkpoint's config.json or scheduler_config.json. Every field is one of: understood; cosmetic; or fixed
// to the values that change nothing. A field not listed may change the result, so it is an error.

/** A field that does not change what the model computes. */
export const cosmetic = z.unknown().optional();

/** A field of which only these values are supported. */
export const only = (...values: (string | number | boolean | null)[]) => z.literal(values).optional();

/** A whole number from 1 to `max`: sizes are bounded, so that a hostile file cannot ask for endless layers. */
export const count = (max = 65_536) => z.int().min(1).max(max);

/** Fields that diffusers writes into every config. */
export const diffusersFields = (...classes: string[]) => ({
  _class_name: only(...classes),
  _diffusers_version: cosmetic,
  _name_or_path: cosmetic,
  _commit_hash: cosmetic,
  _use_default_values: cosmetic,
});

/**
 * Reads a config by a model's or sampler's schema.
 * @param file where it came from, for messages.
 * @throws CheckpointError naming field, value and file.
 */
export function parseConfig<T extends z.ZodType>(schema: T, json: unknown, file: string): z.output<T> {
  try {
    const result = schema.safeParse(json, { reportInput: true });
    if (result.success) return result.data;
    throw new Error(describe(result.error.issues[0]!));
  } catch (error) {
    throw new CheckpointError(`${(error as Error).message}, in ${file}`, { file, cause: error });
  }
}

function describe(issue: z.core.$ZodIssue): string {
  const field = issue.path.join('.') || 'the config';
  const value = issue.input;
  const received = value === undefined ? 'nothing' : (JSON.stringify(value) ?? String(value)).slice(0, 200);
  switch (issue.code) {
    case 'unrecognized_keys': {
      const key = issue.keys[0]!;
      const unknown = JSON.stringify((value as Record<string, unknown>)[key])?.slice(0, 200);
      return `Expected known fields only, as others may change the result, but received ${key}: ${unknown}`;
    }
    case 'invalid_value':
      return `Expected ${issue.values.map((v) => JSON.stringify(v)).join(' or ')} for ${field} but received ${received}`;
    case 'invalid_type':
      return `Expected ${issue.expected} for ${field} but received ${received}`;
    case 'too_small':
    case 'too_big': {
      const bound = issue.code === 'too_small' ? `at least ${issue.minimum}` : `at most ${issue.maximum}`;
      return `Expected ${bound} for ${field} but received ${received}`;
    }
    case 'not_multiple_of':
      return `Expected a multiple of ${issue.divisor} for ${field} but received ${received}`;
    default:
      // In words of the schema's own.
      if (issue.message.startsWith('Expected'))
        return `${issue.message} for ${field} but received ${received}`;
      return `Expected a supported value for ${field} but received ${received} (${issue.message})`;
  }
}
