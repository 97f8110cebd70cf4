import { z } from 'zod';

// Fields of a config.json that say something of each block of a network.

/** One value for all blocks, or a list with one for each. */
export const perBlock = <T extends z.ZodType>(value: T) => z.union([value, z.array(value).min(1).max(16)]);

/** `value` for each of `n` blocks. */
export function broadcast<T>(value: T | T[], n: number, field: string): T[] {
  const list = Array.isArray(value) ? value : new Array<T>(n).fill(value);
  if (list.length !== n)
    throw new Error(`Expected ${n} values for ${field} but received ${JSON.stringify(value)}`);
  return list;
}
