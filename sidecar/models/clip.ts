import { z } from 'zod';
import { cosmetic, count, only } from '../checkpoints/config.ts';
import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import { attention, layerNorm, linear, packedLinear } from './layers.ts';

// CLIP's text transformer: arXiv:2103.00020, section 2.4. Parameters are named as transformers names them,
// without the `text_model.` that older checkpoints have before each.

/** What transformers writes into every config: settings of text generation, labels, bookkeeping. */
const generic = [
  ...['_attn_implementation_autoset', '_commit_hash', '_name_or_path', 'architectures', 'attention_dropout'],
  ...[
    'attn_implementation',
    'bad_words_ids',
    'begin_suppress_tokens',
    'bos_token_id',
    'chunk_size_feed_forward',
  ],
  ...[
    'cross_attention_hidden_size',
    'decoder_start_token_id',
    'diversity_penalty',
    'do_sample',
    'dropout',
    'dtype',
  ],
  ...[
    'early_stopping',
    'encoder_no_repeat_ngram_size',
    'exponential_decay_length_penalty',
    'finetuning_task',
  ],
  ...[
    'forced_bos_token_id',
    'forced_eos_token_id',
    'gradient_checkpointing',
    'id2label',
    'initializer_factor',
  ],
  ...[
    'initializer_range',
    'is_encoder_decoder',
    'label2id',
    'length_penalty',
    'logit_scale_init_value',
    'max_length',
  ],
  ...['min_length', 'model_type', 'no_repeat_ngram_size', 'num_beam_groups', 'num_beams', 'num_labels'],
  ...['num_return_sequences', 'output_attentions', 'output_hidden_states', 'output_past', 'output_scores'],
  ...['pad_token_id', 'prefix', 'problem_type', 'remove_invalid_values', 'repetition_penalty', 'return_dict'],
  ...['return_dict_in_generate', 'sep_token_id', 'suppress_tokens', 'task_specific_params', 'temperature'],
  ...['text_config', 'text_config_dict', 'tf_legacy_loss', 'tie_encoder_decoder', 'tie_word_embeddings'],
  ...['tokenizer_class', 'top_k', 'top_p', 'torch_dtype', 'torchscript', 'transformers_version', 'typical_p'],
  ...['use_bfloat16', 'use_cache', 'use_return_dict', 'vision_config', 'vision_config_dict'],
];

/** config.json of a CLIPTextModel; of a whole CLIPModel, its `text_config`. */
export const clipTextConfig = z.preprocess(
  textPart,
  z.strictObject({
    ...Object.fromEntries(generic.map((name) => [name, cosmetic])),
    vocab_size: count(2 ** 20).default(49408),
    hidden_size: count().default(512),
    intermediate_size: count().default(2048),
    num_hidden_layers: count(256).default(12),
    num_attention_heads: count(1024).default(8),
    max_position_embeddings: count().default(77),
    hidden_act: z.literal(['quick_gelu', 'gelu']).default('quick_gelu'),
    layer_norm_eps: z.number().positive().default(1e-5),
    eos_token_id: z.int().nullish(),
    projection_dim: count().nullish(),
    use_attention_mask: only(false, null),
    is_decoder: only(false, null),
    add_cross_attention: only(false, null),
    pruned_heads: z.strictObject({}).nullish(),
  }),
);

/** config.json of a CLIPTextModelWithProjection. */
export const clipProjectionConfig = clipTextConfig.transform((config) => ({
  ...config,
  projection: config.projection_dim ?? 512,
}));

export type ClipTextConfig = z.output<typeof clipTextConfig> & {
  /** Features P of the projection that the model ends in, where it has one. */
  projection?: number;
};

export interface TextShape {
  batch: number;
  /** 77, or fewer. */
  tokens: number;
  /** Leave out this many of the last layers: Stable Diffusion's clip_skip as diffusers counts it. */
  clipSkip?: number;
  /** Rows E of the input learned_embeddings [E,C], which ids from vocab_size on stand for: textual inversion. */
  learned?: number;
}

/**
 * input_ids i32 [B,T] → last_hidden_state [B,T,C], after the final norm, and penultimate [B,T,C], what the last
 * layer is given; with a projection also text_embeds [B,T,P], of which the rows at `pooledPositions` count. With
 * clipSkip the last layers are left out, and last_hidden_state is the only output.
 */
export function traceTextEncoder(config: ClipTextConfig, shape: TextShape): Graph {
  const { clipSkip = 0 } = shape;
  const layers = config.num_hidden_layers - clipSkip;
  if (!Number.isInteger(clipSkip) || clipSkip < 0 || layers < 1)
    throw new Error(`Expected clip_skip from 0 to ${config.num_hidden_layers - 1} but received ${clipSkip}`);
  const g = new Graph('text_encoder');
  const w = new Weights(g);
  const states = hiddenStates(g, w, config, shape, layers);
  if (clipSkip === 0) g.output('penultimate', states.at(-2)!);
  const last = layerNorm(g, w.at('final_layer_norm'), states.at(-1)!, config.layer_norm_eps);
  g.output('last_hidden_state', last);
  if (clipSkip === 0 && config.projection) g.output('text_embeds', project(g, w, last, config.projection));
  return g;
}

/**
 * As Stable Diffusion XL reads it: input_ids i32 [B,T] → hidden_states [B,T,C], what the last layer is given, or with
 * clipSkip the one that many before it, without a norm. With a projection also text_embeds [B,T,P], of all layers,
 * of which the rows at `pooledPositions` count.
 */
export function traceTextEncoderXL(config: ClipTextConfig, shape: TextShape): Graph {
  const { clipSkip = 0 } = shape;
  const { num_hidden_layers: layers, projection } = config;
  const layer = layers - 1 - clipSkip;
  if (!Number.isInteger(clipSkip) || clipSkip < 0 || layer < 0)
    throw new Error(`Expected clip_skip from 0 to ${layers - 1} but received ${clipSkip}`);
  const g = new Graph('text_encoder');
  const w = new Weights(g);
  const states = hiddenStates(g, w, config, shape, projection ? layers : layer);
  g.output('hidden_states', states[layer]!);
  if (projection) {
    const last = layerNorm(g, w.at('final_layer_norm'), states.at(-1)!, config.layer_norm_eps);
    g.output('text_embeds', project(g, w, last, projection));
  }
  return g;
}

/**
 * Where each sequence's summary stands: the first end-of-text token. Configs from before that id was right say 2,
 * and mean the highest id.
 * @param ids [B,T], row-major.
 * @returns a position for each of the B sequences.
 */
export function pooledPositions(config: ClipTextConfig, ids: Int32Array, tokens: number): number[] {
  const eos = config.eos_token_id ?? 49407;
  // Learned words have the highest ids, and are not the end of a text.
  const highest = (a: number, id: number) => (id < config.vocab_size ? Math.max(a, id) : a);
  return Array.from({ length: ids.length / tokens }, (_, b) => {
    const row = ids.subarray(b * tokens, (b + 1) * tokens);
    return Math.max(0, row.indexOf(eos === 2 ? row.reduce(highest, 0) : eos));
  });
}

/**
 * The rows of each sequence that count: [B,T,C] at positions [B] → [B,C].
 * @param values row-major.
 */
export function pooledRows(values: Float32Array, positions: readonly number[], tokens: number): Float32Array {
  const C = values.length / (positions.length * tokens);
  const rows = new Float32Array(positions.length * C);
  for (const [b, position] of positions.entries()) {
    const from = (b * tokens + position) * C;
    rows.set(values.subarray(from, from + C), b * C);
  }
  return rows;
}

/** input_ids [B,T] → what each of the first `layers` layers is given, and what the last of them gives: [B,T,C]. */
function hiddenStates(
  g: Graph,
  w: Weights,
  config: ClipTextConfig,
  shape: TextShape,
  layers: number,
): Tensor[] {
  const states = [embeddings(g, w.at('embeddings'), config, shape)];
  for (let i = 0; i < layers; i++)
    states.push(encoderLayer(g, w.at('encoder', 'layers', i), config, states[i]!, { causal: true }));
  return states;
}

/** x [B,T,C] → [B,T,P]. */
function project(g: Graph, w: Weights, x: Tensor, features: number): Tensor {
  return linear(g, w.at('text_projection'), x, features, { bias: false });
}

function embeddings(
  g: Graph,
  w: Weights,
  config: ClipTextConfig,
  { batch, tokens, learned: E }: TextShape,
): Tensor {
  const C = config.hidden_size;
  const ids = g.input('input_ids', [batch, tokens], 'i32');
  const learned = E ? g.input('learned_embeddings', [E, C]) : undefined;
  const weights = {
    weight: w.at('token_embedding').param('weight', [config.vocab_size, C]),
    position: w.at('position_embedding').param('weight', [config.max_position_embeddings, C]),
  };
  return g.op('embedding', w.path, { ids, learned }, weights);
}

/** Self-attention, causal in texts, and a two-layer perceptron; norms come first. x [B,T,C] → the same. */
export function encoderLayer(
  g: Graph,
  w: Weights,
  config: Omit<ClipTextConfig, 'vocab_size' | 'max_position_embeddings' | 'num_hidden_layers'>,
  x: Tensor,
  { causal }: { causal: boolean },
): Tensor {
  const { hidden_size: C, hidden_act: activation, layer_norm_eps: eps, num_attention_heads: heads } = config;
  const attn = w.at('self_attn');
  let h = layerNorm(g, w.at('layer_norm1'), x, eps);
  h = packedLinear(g, attn, ['q_proj', 'k_proj', 'v_proj'], h, C, { bias: true });
  h = attention(g, attn, h, { heads, causal });
  x = linear(g, attn.at('out_proj'), h, C, { residual: x });

  h = layerNorm(g, w.at('layer_norm2'), x, eps);
  h = linear(g, w.at('mlp', 'fc1'), h, config.intermediate_size, { activation });
  return linear(g, w.at('mlp', 'fc2'), h, C, { residual: x });
}

/** A CLIPModel's config holds that of its text transformer, in `text_config` or, first, `text_config_dict`. */
function textPart(json: unknown): unknown {
  const config = json as { model_type?: string; text_config?: object; text_config_dict?: object } | null;
  if (config?.model_type !== 'clip' || !config.text_config) return json;
  return { ...config.text_config, ...config.text_config_dict };
}
