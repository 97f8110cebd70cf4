import type { Body, Made } from './types.ts';

/**
 * The request that makes the same pictures again: as it was sent, with what the model or chance filled in. A sampler
 * that was not asked for stays the model's: its own settings come with it.
 */
export function exactBody({ body, effective }: Pick<Made, 'body' | 'effective'>): Body {
  const { model, width, height, seeds, steps, guidance_scale } = effective;
  return {
    ...body,
    ...{ model, steps, guidance_scale },
    size: `${width}x${height}`,
    seed: seeds[0],
    n: seeds.length > 1 ? seeds.length : undefined,
  };
}
