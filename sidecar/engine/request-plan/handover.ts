import { errors } from '../../errors.ts';
import type { Sampler } from '../../samplers/index.ts';
import type { ImageRequest } from '../request.ts';

/** As the published refiner was trained: for the last fifth of the noise schedule. */
export const DEFAULT_HANDOVER = 0.8;

/** The first evaluation of the refiner's share of the noise schedule, at the beginning of a step. */
export function handoverAt(
  { refiner, refinerStart = DEFAULT_HANDOVER, mask }: ImageRequest,
  { timesteps, evaluationsPerStep }: Sampler,
  { num_train_timesteps }: Record<string, unknown>,
): number | undefined {
  if (!refiner) return undefined;
  if (mask) throw errors.unexpected('refiner', 'nothing, as there is a mask,', 'a model');
  const trained = num_train_timesteps as number;
  const cutoff = Math.round(trained - refinerStart * trained);
  const at = timesteps.findIndex((t) => t < cutoff);
  return at < 0 ? timesteps.length : Math.ceil(at / evaluationsPerStep) * evaluationsPerStep;
}
