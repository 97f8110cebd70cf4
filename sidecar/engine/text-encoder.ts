import { CheckpointError } from '../checkpoints/error.ts';
import { type ClipTextConfig, pooledPositions, pooledRows } from '../models/clip.ts';
import { type Component, planTextEncoder, planTextEncoderXL } from '../models/components.ts';
import type { ClipTokenizer, Encoded } from '../text/tokenizer.ts';
import type { Programs } from './programs.ts';

/** A text encoder and its tokenizer. Tensors are float32, [B,T,C]. */
export class TextEncoder {
  readonly config: ClipTextConfig;
  readonly tokenizer: ClipTokenizer;
  readonly #programs: Programs;

  /** @throws CheckpointError when the tokenizer has words that the encoder has not. */
  constructor({ config, dir }: Component<ClipTextConfig>, tokenizer: ClipTokenizer, programs: Programs) {
    if (tokenizer.vocabSize > config.vocab_size)
      throw new CheckpointError(
        `Expected at most ${config.vocab_size} tokens, the text encoder's vocab_size, but received ${tokenizer.vocabSize}, in ${dir}`,
        { file: dir },
      );
    this.config = config;
    this.tokenizer = tokenizer;
    this.#programs = programs;
  }

  /** Tokens T that it takes. */
  get maxLength(): number {
    return Math.min(this.tokenizer.modelMaxLength, this.config.max_position_embeddings);
  }

  tokenize(text: string): Encoded {
    return this.tokenizer.encode(text, { maxLength: this.maxLength });
  }

  /** ids [B,T] → what the last layer gives, or with clipSkip one that many before it, after the final norm. */
  async lastHiddenState(ids: Int32Array, batch: number, clipSkip: number): Promise<Float32Array> {
    const shape = { batch, tokens: ids.length / batch, clipSkip };
    const outputs = await this.#programs.run(
      `text ${batch}x${shape.tokens} skip ${clipSkip}`,
      () => planTextEncoder({ text_encoder: this }, shape),
      { input_ids: ids },
    );
    return outputs.last_hidden_state as Float32Array;
  }

  /**
   * ids [B,T] → what the last layer is given, or with clipSkip one that many before it, without a norm; and of an
   * encoder with a projection the summary of each text, [B,P].
   */
  async penultimate(
    ids: Int32Array,
    batch: number,
    clipSkip: number,
  ): Promise<{ states: Float32Array; pooled?: Float32Array }> {
    const shape = { batch, tokens: ids.length / batch, clipSkip };
    const outputs = await this.#programs.run(
      `text xl ${batch}x${shape.tokens} skip ${clipSkip}`,
      () => planTextEncoderXL({ text_encoder: this }, shape),
      { input_ids: ids },
    );
    const states = outputs.hidden_states as Float32Array;
    if (!outputs.text_embeds) return { states };
    const ends = pooledPositions(this.config, ids, shape.tokens);
    return { states, pooled: pooledRows(outputs.text_embeds as Float32Array, ends, shape.tokens) };
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }
}
