import { errors } from '../errors.ts';

/**
 * The values, when none is NaN or infinite.
 * @param what they are, for the message.
 * @throws ServiceError not_finite
 */
export function finite(values: Float32Array, what: string, model: { name: string }): Float32Array {
  if (!allFinite(values)) throw errors.notFinite(what, model.name);
  return values;
}

export function allFinite(values: Float32Array): boolean {
  let sum = 0;
  // By index: of a million values, `for … of` takes 11 ms and leaves garbage, this 0.8.
  for (let i = 0; i < values.length; i++) sum += values[i]! * 0;
  return !Number.isNaN(sum);
}
