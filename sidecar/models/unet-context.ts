import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import type { CrossContext } from './blocks.ts';
import { activation, conv2d, linear, packedLinear } from './layers.ts';
import { sinusoids, timeFeatures, type UNetEncoder } from './unet-blocks.ts';
import type { UNetConfig } from './unet-config.ts';

// What a U-Net, or a ControlNet, takes of a request before its first step: keys and values of the text, and in Stable
// Diffusion XL (arXiv:2307.01952) an embedding of the pooled text and of sizes. A plan of its own.

export interface ContextShape {
  batch: number;
  tokens: number;
  /** Stable Diffusion XL: how many numbers of time_ids. 6 in the base model, 5 in the refiner. */
  timeIds?: number;
}

export interface UNetShape {
  /** Rows: one for each text of each image. */
  batch: number;
  /**
   * Of each image; their rows lie side by side. What comes before the first of them is computed once for an image.
   * Default: 1. Not in Stable Diffusion XL, where all depends on the text from the start.
   */
  texts?: number;
  /** Of the latents; any size from 1. */
  height: number;
  width: number;
  /** Context tokens: 77 for a prompt of CLIP's length. */
  tokens: number;
}

/** A cross-attention layer: where its parameters are, and its channels. */
export interface CrossLayer {
  path: string;
  features: number;
}

type Conditioned = UNetEncoder & Pick<UNetConfig, 'added' | 'cross_attention_dim'>;

/** k and v of the cross-attention layers as inputs `kv.0`, `kv.1`, … [B,S,2C], in the order of the trace. */
export function kvInputs(g: Graph, prefix: string, batch: number, tokens: number): CrossContext {
  let layers = 0;
  return (_, features) => g.input(`${prefix}kv.${layers++}`, [batch, tokens, 2 * features]);
}

/** In Stable Diffusion XL the input `add_embedding` [B,E]. */
export function addedInput(g: Graph, prefix: string, config: Conditioned, batch: number): Tensor | undefined {
  return config.added ? g.input(`${prefix}add_embedding`, [batch, timeFeatures(config)]) : undefined;
}

/** encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C]; text_embeds [B,P], time_ids [B,timeIds] → add_embedding [B,E]. */
export function contextGraph(
  name: string,
  config: Conditioned,
  layers: readonly CrossLayer[],
  { batch, tokens, timeIds = 6 }: ContextShape,
): Graph {
  const g = new Graph(name);
  const text = g.input('encoder_hidden_states', [batch, tokens, config.cross_attention_dim]);
  layers.forEach(({ path, features }, i) => {
    const w = new Weights(g, path);
    g.output(`kv.${i}`, packedLinear(g, w, ['to_k', 'to_v'], text, features, { bias: false }));
  });
  if (config.added) {
    const pooled = g.input('text_embeds', [batch, textFeatures(config.added, timeIds)]);
    const ids = g.input('time_ids', [batch, timeIds]);
    g.output('add_embedding', addEmbedding(g, new Weights(g), config, pooled, ids));
  }
  return g;
}

/**
 * text_embeds [B,P], the pooled text, and time_ids [B,n], sizes and crops in pixels → an embedding [B,E] that is
 * added to the time's: arXiv:2307.01952, section 2.2.
 */
export function addEmbedding(g: Graph, w: Weights, config: Conditioned, text: Tensor, ids: Tensor): Tensor {
  const [batch, n] = ids.shape as [number, number];
  const { sizeFeatures } = config.added!;
  const features = timeFeatures(config);
  const sizes = sinusoids(g, 'add_time_proj', config, g.reshape(ids, [batch * n]), sizeFeatures);
  const image = (x: Tensor, C: number) => g.reshape(x, [batch, 1, 1, C]);
  // A linear layer over text and sizes side by side is a 1x1 convolution with two inputs.
  let h = conv2d(g, w.at('add_embedding', 'linear_1'), image(text, text.shape[1]!), features, {
    kernel: 1,
    x2: image(sizes, n * sizeFeatures),
  });
  h = activation(g, 'add_embedding', g.reshape(h, [batch, features]), 'silu');
  return linear(g, w.at('add_embedding', 'linear_2'), h, features);
}

/** Width P of the pooled text: what is left beside the embeddings of the sizes. */
function textFeatures(
  { features, sizeFeatures }: NonNullable<Conditioned['added']>,
  timeIds: number,
): number {
  const rest = features - timeIds * sizeFeatures;
  if (!Number.isInteger(timeIds) || timeIds < 1 || rest < 1)
    throw new Error(
      `Expected time_ids that leave room for the text in ${features} features but received ${timeIds} of ${sizeFeatures} each`,
    );
  return rest;
}
