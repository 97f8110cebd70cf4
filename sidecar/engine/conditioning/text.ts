import type { Context, ContextInputs, Denoiser } from '../denoiser.ts';
import type { Conditioning } from './index.ts';

/** What a U-Net is told of one text. */
export interface TextEncoding {
  /** What cross-attention looks at: [T,D]. */
  states: Float32Array;
  /** Stable Diffusion XL: a summary of the text, [P], and the numbers of its time_ids. */
  added?: { pooled: Float32Array; timeIds: readonly number[] };
}

/** The texts that a request's images are conditioned on, computed once and kept on the device for the whole request. */
export class TextConditioning implements Conditioning {
  readonly #denoiser: Denoiser;
  readonly #encodings: TextEncoding[];
  readonly #contexts = new Map<string, Promise<Context>>();

  /** @param encodings one for each text: with guidance the negative one first, else one alone. */
  constructor(denoiser: Denoiser, encodings: TextEncoding[]) {
    this.#denoiser = denoiser;
    this.#encodings = encodings;
  }

  get texts(): number {
    return this.#encodings.length;
  }

  forImages(n: number, texts = this.#all): Promise<Context> {
    const key = `${n}x${texts}`;
    const context =
      this.#contexts.get(key) ?? this.#denoiser.context(this.inputs(n, texts), texts.length * n);
    this.#contexts.set(key, context);
    return context;
  }

  async dispose(): Promise<void> {
    const contexts = await Promise.allSettled(this.#contexts.values());
    for (const context of contexts)
      if (context.status === 'fulfilled') for (const tensor of Object.values(context.value)) tensor.dispose();
  }

  /** The first text `n` times, then the next: [texts·n,T,D]. */
  inputs(n: number, texts = this.#all): ContextInputs {
    const encodings = texts.map((i) => this.#encodings[i]!);
    const rows = (of: (encoding: TextEncoding) => ArrayLike<number>) =>
      join(encodings.map((encoding) => repeat(Float32Array.from(of(encoding)), n)));
    const inputs: ContextInputs = { encoder_hidden_states: rows(({ states }) => states) };
    if (encodings[0]!.added) {
      inputs.text_embeds = rows(({ added }) => added!.pooled);
      inputs.time_ids = rows(({ added }) => added!.timeIds);
    }
    return inputs;
  }

  get #all(): readonly number[] {
    return [...this.#encodings.keys()];
  }
}

/** `values`, `times` in a row. */
export function repeat(values: Float32Array, times: number): Float32Array {
  return join(Array.from({ length: times }, () => values));
}

/** One after the other. */
export function join(parts: Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
