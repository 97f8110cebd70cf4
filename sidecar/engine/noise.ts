import { TorchGenerator } from '../random/torch.ts';

/** The random numbers of a request, in the order in which the reference draws them. */
export class Noise {
  readonly #generators: TorchGenerator[];
  readonly #count: number;

  /**
   * @param seeds one: a single generator draws for all images at once. As many as images: each has its own.
   * @param count of images.
   */
  constructor(seeds: readonly number[], count: number) {
    this.#generators = seeds.map((seed) => new TorchGenerator(seed));
    this.#count = count;
  }

  /** N(0, 1) for all images: [count, size]. */
  draw(size: number): Float32Array<ArrayBuffer> {
    const [first, ...others] = this.#generators;
    if (others.length === 0) return first!.randn(this.#count * size);
    const out = new Float32Array(this.#count * size);
    for (const [i, generator] of this.#generators.entries()) out.set(generator.randn(size), i * size);
    return out;
  }

  /** N(0, 1) for what the images have in common: [count, size]. A single generator draws once for all of them. */
  drawShared(size: number): Float32Array<ArrayBuffer> {
    if (this.#generators.length > 1) return this.draw(size);
    const drawn = this.#generators[0]!.randn(size);
    const out = new Float32Array(this.#count * size);
    for (let i = 0; i < this.#count; i++) out.set(drawn, i * size);
    return out;
  }
}
