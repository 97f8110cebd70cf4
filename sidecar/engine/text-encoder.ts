import { LRUCache } from 'lru-cache';
import { type ClipTextConfig, pooledPositions, pooledRows, type TextShape } from '../models/clip.ts';
import { type Component, planTextEncoder, planTextEncoderXL } from '../models/components.ts';
import type { Chunk } from '../text/chunks.ts';
import type { ClipTokenizer, Encoded } from '../text/tokenizer.ts';
import type { Exclusive } from './conditioning/index.ts';
import type { Outputs, Programs } from './programs.ts';

/** T token ids, and the embeddings of those from vocab_size on. */
type Row = Pick<Chunk, 'ids' | 'vectors'>;

/** Encodings that are kept, each of some hundred kilobytes. */
const MAX_KNOWN = 32;

/**
 * A text encoder and its tokenizer. Tensors are float32. What a text was encoded to is remembered, the least recently
 * used going first: a prompt that comes again costs nothing. Another encoder, or one that adapters change, is another
 * object.
 */
export class TextEncoder {
  readonly config: ClipTextConfig;
  readonly tokenizer: ClipTokenizer;
  readonly #programs: Programs;
  readonly #known = new LRUCache<string, Outputs>({ max: MAX_KNOWN });

  constructor({ config }: Component<ClipTextConfig>, tokenizer: ClipTokenizer, programs: Programs) {
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

  /** What the last layer gives, or with clipSkip one that many before it, after the final norm: [T,C]. */
  async lastHiddenState(chunk: Row, clipSkip: number, exclusive: Exclusive): Promise<Float32Array> {
    const { key, shape, inputs } = this.#take(chunk, clipSkip);
    const plan = () => planTextEncoder({ text_encoder: this }, shape);
    const run = () => exclusive(() => this.#programs.run(`text ${key}`, plan, inputs));
    const outputs = await this.#remembered(`text ${key}`, chunk, run);
    return outputs.last_hidden_state as Float32Array;
  }

  /**
   * What the last layer is given, or with clipSkip one that many before it, without a norm: [T,C]; and of an encoder
   * with a projection the text's summary, [P].
   */
  async penultimate(
    chunk: Row,
    clipSkip: number,
    exclusive: Exclusive,
  ): Promise<{ states: Float32Array; pooled?: Float32Array }> {
    const { key, shape, inputs } = this.#take(chunk, clipSkip);
    const plan = () => planTextEncoderXL({ text_encoder: this }, shape);
    const run = () => exclusive(() => this.#programs.run(`text xl ${key}`, plan, inputs));
    const outputs = await this.#remembered(`text xl ${key}`, chunk, run);
    const states = outputs.hidden_states as Float32Array;
    if (!outputs.text_embeds) return { states };
    const ends = pooledPositions(this.config, chunk.ids, shape.tokens);
    return { states, pooled: pooledRows(outputs.text_embeds as Float32Array, ends, shape.tokens) };
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }

  /** What `run` gives, or gave for the same tokens. Learned words stand for what their files hold, and are not kept. */
  async #remembered(key: string, { ids, vectors }: Row, run: () => Promise<Outputs>): Promise<Outputs> {
    if (vectors.length > 0) return run();
    const text = `${key}: ${ids.join(' ')}`;
    const outputs = this.#known.get(text) ?? (await run());
    this.#known.set(text, outputs);
    return outputs;
  }

  #take({ ids, vectors }: Row, clipSkip: number) {
    const { length: tokens } = ids;
    // Room for as many as a text can hold, so that one plan serves all.
    const learned = vectors.length > 0 ? tokens : undefined;
    const shape: TextShape = { batch: 1, tokens, clipSkip, learned };
    const inputs: Record<string, Int32Array | Float32Array> = { input_ids: ids };
    if (learned) {
      const rows = new Float32Array(learned * this.config.hidden_size);
      for (const [i, vector] of vectors.entries()) rows.set(vector, i * vector.length);
      inputs.learned_embeddings = rows;
    }
    return { key: `${tokens} skip ${clipSkip}${learned ? ' learned' : ''}`, shape, inputs };
  }
}
