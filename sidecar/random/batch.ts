import type { Generator } from './generator.ts';

/**
 * Gives each of `images` images its part of one generator's draws, as a pipeline does that draws noise for a whole
 * batch at once: the k-th draw of every image comes out of the k-th draw of `images · size` numbers, whoever asks
 * first. Every image must draw equally often, or the later draws of the others are not the reference's.
 * @param size elements of one image's latents.
 * @returns for each image a function that gives its next draw.
 */
export function shareGenerator(generator: Generator, images: number, size: number): (() => Float32Array)[] {
  const rounds = new Map<number, { values: Float32Array; left: number }>();
  let drawn = 0;
  return Array.from({ length: images }, (_, image) => {
    let next = 0;
    return () => {
      const k = next++;
      if (k === drawn) rounds.set(drawn++, { values: generator.randn(images * size), left: images });
      const round = rounds.get(k)!;
      if (--round.left === 0) rounds.delete(k);
      return round.values.slice(image * size, (image + 1) * size);
    };
  });
}
