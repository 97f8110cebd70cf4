import type { Context, Model } from './model.ts';

/**
 * The texts that a request's images are conditioned on, as the U-Net takes them: keys and values of its
 * cross-attention layers, computed once and kept on the device for the whole request.
 */
export class Conditioning {
  readonly #model: Model;
  readonly #encodings: Float32Array[];
  readonly #contexts = new Map<number, Promise<Context>>();

  /** @param encodings one for each text, [T,D]: with guidance the negative one first, else one alone. */
  constructor(model: Model, encodings: Float32Array[]) {
    this.#model = model;
    this.#encodings = encodings;
  }

  get texts(): number {
    return this.#encodings.length;
  }

  /** For a batch of `n` images for the first text, then the same `n` for the second: [texts·n,T,2C]. */
  forImages(n: number): Promise<Context> {
    const context = this.#contexts.get(n) ?? this.#make(n);
    this.#contexts.set(n, context);
    return context;
  }

  async dispose(): Promise<void> {
    const contexts = await Promise.allSettled(this.#contexts.values());
    for (const context of contexts)
      if (context.status === 'fulfilled') for (const tensor of Object.values(context.value)) tensor.dispose();
  }

  #make(n: number): Promise<Context> {
    const size = this.#encodings[0]!.length;
    const rows = new Float32Array(this.texts * n * size);
    for (const [i, encoding] of this.#encodings.entries()) rows.set(repeat(encoding, n), i * n * size);
    return this.#model.context(rows, this.texts * n);
  }
}

/** `values`, `times` in a row. */
export function repeat(values: Float32Array, times: number): Float32Array {
  const out = new Float32Array(values.length * times);
  for (let i = 0; i < times; i++) out.set(values, i * values.length);
  return out;
}
