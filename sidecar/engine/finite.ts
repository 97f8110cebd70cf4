import { errors } from '../errors.ts';

/**
 * The values, when none is NaN or infinite.
 * @param what they are, for the message.
 * @throws ServiceError not_finite
 */
export function finite(values: Float32Array, what: string, model: { name: string }): Float32Array {
  let sum = 0;
  for (const value of values) sum += value * 0;
  if (Number.isNaN(sum)) throw errors.notFinite(what, model.name);
  return values;
}
