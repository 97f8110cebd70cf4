import { type Context, type ContextInputs, type Denoiser, disposeContext } from '../denoiser.ts';
import type { Conditioning } from './index.ts';

/** What a U-Net is told of one text. */
export interface TextEncoding {
  /** What cross-attention looks at: [T,D]. */
  states: Float32Array;
  /** Stable Diffusion XL: a summary of the text, [P], and the numbers of its time_ids. */
  added?: { pooled: Float32Array; timeIds: readonly number[] };
}

/** The texts that a request's images are conditioned on. */
export class TextConditioning implements Conditioning {
  readonly #denoiser: Denoiser;
  readonly #encodings: TextEncoding[];

  /** @param encodings one for each text: with guidance the negative one first, else one alone. */
  constructor(denoiser: Denoiser, encodings: TextEncoding[]) {
    this.#denoiser = denoiser;
    this.#encodings = encodings;
  }

  get texts(): number {
    return this.#encodings.length;
  }

  async contexts(): Promise<Context[]> {
    const contexts: Context[] = [];
    try {
      for (const text of this.#encodings.keys())
        contexts.push(await this.#denoiser.context(this.inputs(text)));
      return contexts;
    } catch (error) {
      contexts.forEach(disposeContext);
      throw error;
    }
  }

  inputs(text: number): ContextInputs {
    const { states, added } = this.#encodings[text]!;
    if (!added) return { encoder_hidden_states: states };
    return {
      encoder_hidden_states: states,
      text_embeds: added.pooled,
      time_ids: Float32Array.from(added.timeIds),
    };
  }
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
